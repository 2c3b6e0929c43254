# Owns how reference.json was made: python3 reference.py > reference.json, with sacrebleu 2.6.0.
import json
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

CORPORA = {
    "english": ("13a", [
        ("The cat sat on the mat.", "The cat sat on the mat."),
        ("A dog runs fast, doesn't it?", "The dog runs very fast, doesn't it?"),
        ("It costs $3.50 (10-20 % off) &amp; more", "It costs $3.50 (10-20 % less) & more."),
        ("hello", "Hello World"),
        ("", "nothing was said"),
        ("state-of-the-art e-mail 1-2", "state-of-the-art email 1-2 <skipped> &quot;x&quot;"),
        ("tab\tand\u00a0space \x1f unit\u3000wide", "tab and space unit wide"),
        ("line one-\nline two\nline three ", "line oneline two line three"),
    ]),
    "chinese": ("zh", [
        ("你好，世界", "你好，世界"),
        ("今天天气很好。", "今天的天气真好！"),
        ("控制编辑器是否应呈现空白字符。", "控制在编辑器中显示空白符号的方式。"),
        ("在 VS Code 1.90 中使用“{0}”…", "在 VS Code 1.90 里使用 “{0}”..."),
        ("𠮷野家", "𠮷野家 吉野家"),
        ("①②③ ⅣⅤ ─═ →⇒ ☀✂ ㈱㍍", "①②③ ⅣⅤ ─═ →⇒ ☀✂ ㈱㍍"),
        ("“引号”—破折号…", "“引号” — 破折号……"),
        ("ＡＢＣ 123ｱｲｳ", "ABC 123ｱｲｳ　"),
    ]),
    "nothing in common": ("13a", [("a b c d", "w x y z"), ("e", "v")]),
    "no four words": ("13a", [("one two", "one two"), ("three", "three")]),
    "some orders without a hit": ("13a", [("a b x d e y g", "a b c d e f g")]),
    "both empty": ("13a", [("", "")]),
    "only spaces": ("zh", [("  ", "\u3000"), ("好", "好")]),
    "shorter than six": ("zh", [("好的", "好"), ("ab", "abc"), ("x", "x")]),
}

out = {"version": sacrebleu.__version__, "corpora": []}
for name, (tokens, pairs) in CORPORA.items():
    hyps, refs = [h for h, _ in pairs], [r for _, r in pairs]
    out["corpora"].append({
        "name": name, "tokens": tokens, "hypotheses": hyps, "references": refs,
        "bleu": BLEU(tokenize=tokens).corpus_score(hyps, [refs]).score,
        "chrf": CHRF().corpus_score(hyps, [refs]).score,
        "sentences": [CHRF().sentence_score(h, [r]).score for h, r in pairs],
        "tokenised": [BLEU(tokenize=tokens).tokenizer(r.rstrip()).split() for r in refs],
    })
print(json.dumps(out, ensure_ascii=False, indent=1))
