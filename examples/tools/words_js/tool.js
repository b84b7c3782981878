// words_js: a component of the world caxton:tool. `describe` tells a model what it is for, `call`
// gets the arguments as JSON and gives back the result as JSON. What it throws is an error.
export function describe() {
  return JSON.stringify({
    name: "words_js",
    description: "Counts the words and the characters of a text.",
    inputSchema: {
      type: "object",
      properties: { text: { type: "string", description: "The text to count in." } },
      required: ["text"],
      additionalProperties: false,
    },
  });
}

export function call(input) {
  const { text } = JSON.parse(input);
  const words = text.split(/\s+/).filter((word) => word !== "");
  return JSON.stringify({ words: words.length, characters: [...text].length });
}
