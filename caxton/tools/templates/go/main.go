// {{name}}: a WASI command. Arguments come as JSON on standard input, the result goes out as JSON
// on standard output. Exit code 1 with {"error": {...}} says that something is wrong.
package main

import (
	"encoding/json"
	"os"
	"strings"
	"unicode/utf8"
)

type arguments struct {
	Text *string `json:"text"`
}

type result struct {
	Words      int `json:"words"`
	Characters int `json:"characters"`
}

func main() {
	var given arguments
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fail("bad_arguments", err.Error())
	}
	if given.Text == nil {
		fail("bad_arguments", "text is missing")
	}
	say(result{len(strings.Fields(*given.Text)), utf8.RuneCountInString(*given.Text)})
}

func say(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		os.Exit(2)
	}
}

func fail(code, message string) {
	say(map[string]any{"error": map[string]string{"code": code, "message": message}})
	os.Exit(1)
}
