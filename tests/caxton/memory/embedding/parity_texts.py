"""Five hundred texts of all kinds, the same at each run: what embeddings are compared on."""

from __future__ import annotations

import random
from collections.abc import Callable

COUNT = 500
SEED = 20_260

_LINES = """\
words the of and to a in is it you that he was for on are with as his they at be
words this from have or one had by word but not what all were we when your can
words said there use an each which she do how their if will up other about out
words many then them these so some her would make like him into time has look
words two more write go see number no way could people my than first water been
words call who oil its now find long down day did get come made may part server
words agent memory graph vector invoice refund customer deadline meeting budget
words shipment warehouse contract password cluster database latency embedding
words tokenizer anthropology chrysanthemum notwithstanding photosynthesis
words counterintuitive Alice Bob Zürich Kraków São Paulo Reykjavík naïve café
emoji 😀 🚀 👩‍👩‍👧‍👦 🇨🇭 ❤️ 👍🏽 🧠 ⏰ 🐍 ✅ 🤷‍♀️ 🎉
chinese 记 忆 知 识 图 谱 语 义 搜 索 机 器 学 习 数 据 库 服 务 器 客 户 会 议 预 算 今 天 明 天
chinese 北 京 上 海 我 们 需 要 更 多 时 间
japanese 記憶 検索 エージェント は を サーバー 会議 東京 ありがとう です データ ひらがな
korean 기억 검색 에이전트 서버 회의 서울 고객 감사합니다 데이터 시간
arabic ذاكرة بحث وكيل خادم اجتماع القاهرة عميل شكرا بيانات وقت
hebrew זיכרון חיפוש סוכן שרת פגישה ירושלים לקוח תודה נתונים זמן
cyrillic память поиск агент сервер встреча Москва клиент спасибо данные Київ
greek μνήμη αναζήτηση πράκτορας διακομιστής συνάντηση Αθήνα πελάτης δεδομένα
hindi स्मृति खोज एजेंट सर्वर बैठक दिल्ली ग्राहक धन्यवाद डेटा समय
thai ความจำ ค้นหา ตัวแทน เซิร์ฟเวอร์ ประชุม กรุงเทพ ลูกค้า ขอบคุณ
marks !!! ??? ... --- *** ### @@@ $$$ %%% ^^^ &&& ((( ))) [[ ]] {{ }} << >> //
marks \\\\ || ~~
numbers 0 1 42 3.14159 -7 1e-9 0xFF 1,000,000 2026-11-28 12:30:05 99.9% 10.0.0.1
numbers ½
code def f(x): return x+1 for(int i=0;i<n;i++) SELECT * FROM t WHERE a=1; import
code numpy as np <div class='x'></div> lambda: None fn main() -> Result<(), E>
code {"key": [1, 2]} #include <stdio.h> git commit -m x && || != === async await
code self.x
single a b c d e f g h i j k l m n o p q r s t u v w x y z A B C X Y Z 0 1 2 3 4
single 5 6 7 8 9 . , ; : ! ?
"""
PIECES: dict[str, list[str]] = {
    "accents": ["e\u0301te\u0301", "n\u0303andu\u0301", "u\u0308ber", "Å", "ﬁn", "½", "Ⅷ", "ß"],
    "controls": ["\t", "\n", "\r\n", "\u00a0", "\u200b", "\ufeff", "\x07", "\u2028", "word", "end"],
}  # fmt: skip
for _line in _LINES.splitlines():
    _kind, *_found = _line.split()
    PIECES.setdefault(_kind, []).extend(_found)
WORDS = PIECES["words"]


def texts() -> list[str]:
    """All of them: some fixed, the others by seed from each kind in turn, short and long."""
    made = random.Random(SEED)

    def below(limit: int) -> int:
        # Of all that ``Random`` gives, this alone is promised to stay as it is.
        return int(made.random() * limit)

    def pick(among: list[str] | tuple[str, ...], count: int, between: str = " ") -> str:
        return between.join(among[below(len(among))] for _ in range(count))

    def sentence() -> str:
        text = pick(WORDS, 4 + below(24))
        return text[0].upper() + text[1:] + ".?!"[below(3)]

    def link() -> str:
        path = pick(WORDS, 1 + below(5), "/")
        host, query = pick(WORDS, 2, "."), pick(WORDS, 2, "+")
        return f"https://{host}.example/{path}?id={below(10**6)}&q={query}"

    def function() -> str:
        name = pick(WORDS, 2, "_").lower()
        lines = [f"    {pick(WORDS, 1)} = {pick(PIECES['code'], 3)}" for _ in range(1 + below(12))]
        return f"def {name}(self):\n" + "\n".join(lines) + f"\n    return {below(100)}"

    def listed() -> str:
        return "\n".join(f"- **{pick(WORDS, 1)}**: {sentence()}" for _ in range(1 + below(8)))

    def entity() -> str:
        return f"{pick(WORDS, 2)} ({pick(WORDS, 1)})\n" + "\n".join(sentence() for _ in range(3))

    kinds: list[Callable[[], str]] = [
        sentence,
        lambda: " ".join(sentence() for _ in range(2 + below(6))),
        entity,
        link,
        function,
        listed,
        lambda: pick(WORDS, 1),
        lambda: pick(WORDS, 2 + below(3)).upper(),
        lambda: pick(WORDS, 100 + below(200)),
        lambda: (
            f"{pick(WORDS, 1)}@{pick(WORDS, 1)}.example <{link()}> /var/{pick(WORDS, 3, '/')}.log"
        ),
        lambda: "".join(pick(PIECES["single"], 1) for _ in range(5 + below(120))),
        *(lambda kind=kind: pick(PIECES[kind], 1 + below(40)) for kind in PIECES),
        lambda: pick([pick(PIECES[kind], 2) for kind in PIECES], 3 + below(9)),
    ]
    fixed = [
        "", " ", "\n\t ", "a", ".", "😀", "中", "x" * 500, "x" * 100, "x" * 101, "ab" * 2_000,
        pick(WORDS, 400), pick(WORDS, 6_000), pick(PIECES["chinese"], 600, ""),
        pick(PIECES["emoji"], 300, ""), "word " * 254, "word " * 255, "word " * 256,
        "\u0000\u0001\u0002", "\ufffd", "[CLS] [SEP] [MASK] [PAD] [UNK]", "##ing ##ed",
    ]  # fmt: skip
    return fixed + [kinds[place % len(kinds)]() for place in range(COUNT - len(fixed))]
