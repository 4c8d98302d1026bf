"""Print completion code for a shell, to be read by it at its start."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

__all__ = ["EPILOG", "register", "run"]

EPILOG = """\
examples:
  source <(obuild completion bash)                              in ~/.bashrc
  source <(obuild completion zsh)                               in ~/.zshrc
  obuild completion fish > ~/.config/fish/completions/obuild.fish"""


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(arguments: argparse.Namespace) -> int:
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell](), end="")
    return 0


def _options() -> Iterator[tuple[str, str, list[argparse.Action]]]:
    """Name, summary and options of each command, from the parsers themselves."""
    from obuild.cli.main import COMMANDS, build_parser

    parser = build_parser()
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, summary in COMMANDS.items():
        command = subparsers.choices[name]
        yield name, summary, [a for a in command._actions if a.option_strings]


def _words(actions: list[argparse.Action]) -> str:
    return " ".join(option for action in actions for option in action.option_strings)


def _bash() -> str:
    cases = "".join(
        f"        {name}) words='{_words(actions)}' ;;\n" for name, _, actions in _options()
    )
    names = " ".join(name for name, _, _ in _options())
    return f"""\
_obuild() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='{names} --help --version'
    else
        case ${{COMP_WORDS[1]}} in
{cases}        esac
    fi
    COMPREPLY=()
    case $current in
        -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
        *) [ "$COMP_CWORD" -eq 1 ] && COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    esac
}}
complete -o default -o bashdefault -F _obuild obuild
"""


def _zsh() -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = []
    for name, summary, actions in _options():
        lines.append(
            f"complete -c obuild -n __fish_use_subcommand -f -a {name} -d {_quoted(summary)}"
        )
        for action in actions:
            lines.append(
                f"complete -c obuild -n '__fish_seen_subcommand_from {name}' "
                + " ".join(_fish_option(option) for option in action.option_strings)
                + f" -d {_quoted(action.help or '')}"
            )
    return "\n".join(lines) + "\n"


def _fish_option(option: str) -> str:
    return f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
