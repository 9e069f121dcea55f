# make book, make test: all the set-up is done by the first of them that runs.
.DEFAULT_GOAL := help
.PHONY: help book test serve lab run league costs bench clean

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
WORKERS ?= logical

help:
	@echo "make book    build the site into _build/html"
	@echo "make test    run every test: package, equations, notebooks, site in a browser"
	@echo "make serve   build the site and serve it on http://127.0.0.1:$(PORT)"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make run     run the notebooks again and store their outputs (NOTEBOOKS=path ... for some)"
	@echo "make league  train and score the models of the league table again (minutes)"
	@echo "make costs   measure how the samplers' times grow, and draw the figure again"
	@echo "make bench   compare speed with the best known libraries"
	@echo "make clean   remove what was built, and .venv"

.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed as '$(PYTHON)'. On Debian: apt install python3 python3-venv"; \
	    echo "Another interpreter: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. On Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# One stamp for each set of packages; a change of the requirements installs again.
.venv/.book: .venv/.created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[book]'
	@touch $@

.venv/.test: .venv/.created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[book,test]'
	@touch $@ .venv/.book

.venv/.bench: .venv/.created pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	@touch $@

book: .venv/.book
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book is built. Open _build/html/index.html in a browser, or: make serve"

# Two test processes on two cores: more threads in each would only get in each other's way.
test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests book -q -n $(WORKERS) --dist loadfile \
	  --nbval --nbval-sanitize-with book/nbval_sanitize.cfg --nbval-cell-timeout 120

serve: book
	@echo "http://127.0.0.1:$(PORT)  (Ctrl-C stops)"
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: .venv/.book
	$(BIN)/jupyter lab book/part1/01_generative_models/index.ipynb

run: .venv/.book
	$(BIN)/python book/run_notebooks.py $(NOTEBOOKS)

league: .venv/.book
	$(BIN)/python book/league.py

costs: .venv/.bench
	$(BIN)/python -m benchmarks.scaling

bench: .venv/.bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv _build
