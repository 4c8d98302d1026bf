# What a person and CI run. Everything is set up on the way; see CONTRIBUTING.md.
.PHONY: hello test check bench format engines-up engines-down

# The first thing to try: a real build on a real engine.
hello:
	@sh tests/setup/venv.sh
	@.venv/bin/python -m tests.setup hello
	.venv/bin/obuild run corpus/hello/simple.spec

# The whole test suite. ARGS goes to pytest: make test ARGS="tests/keys -x"
test:
	@sh tests/setup/venv.sh dev
	@.venv/bin/python -m tests.setup test $(ARGS)

# Format, lint, types, architecture: what needs no engine and takes seconds.
check:
	@sh tests/setup/venv.sh dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy --strict -p obuild -p tests.setup -p tests.bench
	.venv/bin/python -m pytest -q tests/test_architecture.py

# Against docker build, in pairs: make bench ENGINES=docker20,docker28-containerd
bench:
	@sh tests/setup/venv.sh dev
	@.venv/bin/python -m tests.bench $(if $(ENGINES),--engines $(ENGINES)) $(ARGS)

format:
	@sh tests/setup/venv.sh dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# The engines of the tests' own, left running between runs of pytest.
engines-up engines-down:
	@sh tests/setup/venv.sh dev
	@.venv/bin/python -m tests.setup $(subst engines-,,$@) $(subst $(comma),$(space),$(ENGINES))

comma := ,
space := $() $()
