"""Words that a reader would type, in Japanese and English, each finds its page."""

from typing import Any

import pytest
from bigram_search import Bigrams

pytestmark = [pytest.mark.site, pytest.mark.timeout(1800)]

PART = "book/part1"
WORDS = {
    "経験分布": f"{PART}/01_generative_models/index",
    "大数の法則": f"{PART}/02_boltzmann_machine/2_3_maximum_likelihood",
    "最近傍": f"{PART}/01_generative_models/index",
    "事前知識": f"{PART}/01_generative_models/index",
    "生成モデル": f"{PART}/01_generative_models/index",
    "分配関数": f"{PART}/02_boltzmann_machine/index",
    "指数型分布族": f"{PART}/02_boltzmann_machine/index",
    "逆温度": f"{PART}/02_boltzmann_machine/index",
    "エネルギー": f"{PART}/02_boltzmann_machine/index",
    "KL情報量": f"{PART}/02_boltzmann_machine/2_1_kl_divergence",
    "Kullback": f"{PART}/02_boltzmann_machine/2_1_kl_divergence",
    "Jensen": f"{PART}/02_boltzmann_machine/2_1_kl_divergence",
    "非対称": f"{PART}/02_boltzmann_machine/2_1_kl_divergence",
    "不偏推定量": f"{PART}/02_boltzmann_machine/2_2_gaussian",
    "最尤法": f"{PART}/02_boltzmann_machine/2_3_maximum_likelihood",
    "対数尤度": f"{PART}/02_boltzmann_machine/2_3_maximum_likelihood",
    "アンダーフロー": f"{PART}/02_boltzmann_machine/2_3_maximum_likelihood",
    "共分散行列": f"{PART}/02_boltzmann_machine/2_4_high_dimension",
    "Cholesky": f"{PART}/02_boltzmann_machine/2_4_high_dimension",
    "対角化": f"{PART}/02_boltzmann_machine/2_4_high_dimension",
    "ヤコビアン": f"{PART}/02_boltzmann_machine/2_4_high_dimension",
    "スピングラス": f"{PART}/02_boltzmann_machine/2_5_ising",
    "Ising": f"{PART}/02_boltzmann_machine/2_5_ising",
    "自由エネルギー": f"{PART}/04_restricted_boltzmann_machine/index",
    "代理関数": f"{PART}/02_boltzmann_machine/2_6_gradient_descent",
    "勾配法": f"{PART}/02_boltzmann_machine/2_6_gradient_descent",
    "ヘッセ行列": f"{PART}/02_boltzmann_machine/2_6_gradient_descent",
    "混合ガウス分布": f"{PART}/03_hidden_variables/index",
    "隠れ変数": f"{PART}/03_hidden_variables/3_2_hidden_variables",
    "負担率": f"{PART}/03_hidden_variables/3_1_em",
    "EMアルゴリズム": f"{PART}/03_hidden_variables/3_1_em",
    "局所最適": f"{PART}/03_hidden_variables/3_1_em",
    "変分下界": f"{PART}/03_hidden_variables/3_2_hidden_variables",
    "Q関数": f"{PART}/03_hidden_variables/3_2_hidden_variables",
    "条件付き独立": f"{PART}/04_restricted_boltzmann_machine/index",
    "自己相関時間": f"{PART}/05_markov_chain_monte_carlo/index",
    "マスター方程式": f"{PART}/05_markov_chain_monte_carlo/5_1_master_equation",
    "詳細つりあい": f"{PART}/05_markov_chain_monte_carlo/5_2_detailed_balance",
    "漸近分散": f"{PART}/05_markov_chain_monte_carlo/5_3_breaking_detailed_balance",
    "アニーリング": f"{PART}/05_markov_chain_monte_carlo/5_4_simulated_annealing",
    "テンパリング": f"{PART}/05_markov_chain_monte_carlo/5_5_simulated_tempering",
    "交換モンテカルロ法": f"{PART}/06_exchange_monte_carlo/index",
    "Jarzynski": f"{PART}/06_exchange_monte_carlo/6_1_jarzynski",
    "リサンプリング": f"{PART}/06_exchange_monte_carlo/6_2_population_annealing",
    "最小確率流法": f"{PART}/07_boltzmann_machine_without_mcmc/7_1_minimum_probability_flow",
    "熱浴法": f"{PART}/07_boltzmann_machine_without_mcmc/7_2_gibbs_sampling",
    "ブロック化サンプリング": f"{PART}/07_boltzmann_machine_without_mcmc/7_3_block_sampling",
    "フィルター": f"{PART}/07_boltzmann_machine_without_mcmc/7_4_contrastive_divergence",
    "ランジュバン方程式": f"{PART}/09_hierarchical_vae/index",
    "二次形式": f"{PART}/10_appendix/10_1_quadratic_form",
    "方向微分": f"{PART}/10_appendix/10_2_matrix_derivative",
    "余因子": f"{PART}/10_appendix/10_3_log_determinant",
    "log_partition": "book/reference/api",
    "正誤表": "book/reference/errata",
    "参考文献": "book/reference/bibliography",
    "環境構築": "book/guide/how_to_read",
}


@pytest.fixture(scope="module")
def results(origin: str, browser: Any) -> dict[str, list[str]]:
    """Type every word into the site's own search page."""
    page = browser.new_page(locale="ja-JP")
    found = {}
    for word in WORDS:
        page.goto(f"{origin}/search.html?q={word}")
        page.wait_for_function("Search.status && Search.status.innerText")
        links = page.eval_on_selector_all(
            "ul.search a", "links => links.map(link => link.pathname)"
        )
        found[word] = list(dict.fromkeys(link[1:].removesuffix(".html") for link in links))
    page.close()
    return found


@pytest.mark.parametrize("word", WORDS)
def test_the_word_finds_its_page(results, word):
    assert WORDS[word] in results[word][:12]


def test_a_word_that_stands_nowhere_finds_nothing(origin, browser):
    page = browser.new_page()
    page.goto(f"{origin}/search.html?q=鰯雲鮪漁")
    page.wait_for_function("Search.status && Search.status.innerText")
    assert page.locator("ul.search li").count() == 0
    page.close()


def test_the_browser_cuts_as_the_index_does(origin, browser):
    page = browser.new_page()
    page.goto(f"{origin}/search.html")
    for text in [
        *WORDS,
        "KL情報量とＫＬ 距離",
        "ボルツマン・マシン",
        "x_k が 0 のとき",
        "々ー",
        "β→∞",
    ]:
        cut = page.evaluate("text => splitQuery(text)", text)
        assert cut, text
        assert set(cut) <= set(Bigrams({}).split(text))
    page.close()
