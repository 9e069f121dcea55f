"""The table of contents is the document's, number and title, with our sections in its gaps."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = """\
1 生成モデルでは何を行っているのか
2 ボルツマンマシン
2.1 Kullback-Leibler 情報量
2.2 例:ガウス分布の KL 情報量と学習
2.3 最尤法(=KL 最小化)
2.4 高次元化
2.5 よくあるボルツマンマシン
2.6 勾配法と代理関数
3 隠れ変数を導入してリッチなモデルへ
3.1 EM アルゴリズム
3.2 隠れた変数
4 制限ボルツマンマシン
5 マルコフ連鎖モンテカルロ法(MCMC)
6 交換モンテカルロ法
7 MCMC を用いないボルツマンマシン
8 変分オートエンコーダー
9 階層変分オートエンコーダ
10 Appendix
10.1 微分に必要な線形代数の公式その1
10.2 微分に必要な線形代数の公式その 2
10.3 微分に必要な線形代数の公式その3
""".splitlines()
# From the slides, in chapters that the document leaves empty.
OURS = """\
5.1 マスター方程式とつりあい条件
5.2 詳細つりあいとメトロポリス法
5.3 詳細つりあいを破る
5.4 シミュレーテッド・アニーリング
5.5 シミュレーテッド・テンパリング
6.1 Jarzynski 等式
6.2 ポピュレーションアニーリング
7.1 最小確率流法
7.2 ギブスサンプリング(熱浴法)
7.3 ブロック化サンプリングと RBM の更新則
7.4 CD 法
""".splitlines()
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))


def title(docname: str) -> str:
    notebook = ROOT / f"{docname}.ipynb"
    if notebook.exists():
        text = "".join(json.loads(notebook.read_text("utf-8"))["cells"][0]["source"])
    else:
        text = (ROOT / f"{docname}.md").read_text("utf-8")
    return next(line[2:] for line in text.splitlines() if line.startswith("# ")).strip()


def numbered(entries: list[dict], above: str = "") -> list[str]:
    lines = []
    for position, entry in enumerate(entries, start=1):
        number = f"{above}{position}"
        lines.append(f"{number} {title(entry['file'])}")
        lines += numbered(entry.get("sections", []), f"{number}.")
    return lines


def position(line: str) -> list[int]:
    return [int(number) for number in line.split()[0].split(".")]


def pages(entries: list[dict]) -> list[str]:
    return [
        page for entry in entries for page in [entry["file"], *pages(entry.get("sections", []))]
    ]


def test_part_one_is_the_document():
    parts = [part for part in CONTENTS["parts"] if part.get("numbered")]
    assert parts[0]["caption"] == "拡散モデルを理解するために"
    assert numbered(parts[0]["chapters"]) == sorted(DOCUMENT + OURS, key=position)


def test_every_page_is_in_the_contents():
    """A page outside the contents would not be built."""
    listed = [CONTENTS["root"], *(p for part in CONTENTS["parts"] for p in pages(part["chapters"]))]
    assert len(listed) == len(set(listed))
    folders = ["guide", "part1", "reference"]
    written = [
        path.relative_to(ROOT).with_suffix("").as_posix()
        for folder in folders
        for path in (ROOT / "book" / folder).rglob("*")
        if path.suffix in {".md", ".ipynb"} and ".ipynb_checkpoints" not in path.parts
    ]
    assert sorted(listed) == sorted([CONTENTS["root"], *written])


def test_only_pages_that_are_not_written_are_announced():
    """A chapter to come is a Markdown page; once it is a notebook, nobody may call it 準備中."""
    files = [page for part in CONTENTS["parts"] for page in pages(part["chapters"])]
    labels = {
        label
        for file in files
        if (notebook := ROOT / f"{file}.ipynb").exists()
        for label in re.findall(r"\((sec-[\w-]+)\)=", notebook.read_text(encoding="utf-8"))
    }
    assert "sec-4" in labels
    for page in (ROOT / "book").rglob("*.md"):
        announced = re.findall(r"{ref}`(sec-[\w-]+)`（準備中）", page.read_text(encoding="utf-8"))
        assert not labels & set(announced), page.name
