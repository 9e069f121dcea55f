"""Search that finds Japanese compounds: index and query are cut into the same bigrams."""

import re
import unicodedata

from sphinx.application import Sphinx
from sphinx.search import SearchLanguage

# Kana, the long-vowel mark, the iteration mark and kanji; everything else is a whole word.
JAPANESE = "\u3005-\u3007\u3041-\u3096\u30a1-\u30fa\u30fc\u3400-\u4dbf\u4e00-\u9fff"
RUN = re.compile(rf"[{JAPANESE}]+|[^\W{JAPANESE}]+")

# The same cut in the browser. \w in Python is letters, numbers and the underscore.
SPLIT_QUERY = r"""
function splitQuery(query) {
  const runs = query.normalize("NFKC").toLowerCase()
    .match(/[JA]+|(?:(?![JA])[\p{L}\p{N}_])+/gu) || [];
  return runs.flatMap((run) => {
    if (!/^[JA]/u.test(run) || run.length === 1) return [run];
    return Array.from({length: run.length - 1}, (_, i) => run.slice(i, i + 2));
  });
}
// Sphinx's Japanese catalog leaves this sentence empty.
Documentation.TRANSLATIONS[
  "Search finished, found ${resultCount} page(s) matching the search query."
] = "${resultCount} 件が見つかった。";
""".replace("JA", JAPANESE.encode("ascii", "backslashreplace").decode())


class Bigrams(SearchLanguage):
    lang = "ja"
    language_name = "Japanese"
    js_splitter_code = SPLIT_QUERY

    def split(self, input: str) -> list[str]:
        words = []
        for run in RUN.findall(unicodedata.normalize("NFKC", input).lower()):
            if re.match(f"[{JAPANESE}]", run):
                words += list(run)  # so that a query of one character finds its pages
                words += [run[i : i + 2] for i in range(len(run) - 1)]
            else:
                words.append(run)
        return words

    def word_filter(self, word: str) -> bool:
        return bool(word)  # Sphinx's own filter drops short hiragana words


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(Bigrams)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
