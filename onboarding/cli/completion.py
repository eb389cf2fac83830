"""`onboard completion`: print the script with which a shell completes commands, options and their choices.

The script holds the words, so that completing starts no process. Exit code: 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping

from onboarding.cli.command_list import add_command
from onboarding.cli.io import Commands

_SHELLS = ("bash", "zsh", "fish")
type Words = Mapping[str, list[str]]


def add(commands: Commands) -> None:
    parser = add_command(commands, "completion")
    parser.add_argument("shell", choices=_SHELLS, help="put the command of the examples into the shell's start file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from onboarding.cli.main import build_parser  # which imports this module by its name

    words = dict(_words(build_parser(), ""))
    print(_fish(words) if args.shell == "fish" else _bash(words, zsh=args.shell == "zsh"))
    return 0


def _words(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, list[str]]]:
    """The words that may follow each command, and each option with choices (as `command --option`)."""
    own: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            own += action.choices
            for name, inner in action.choices.items():
                yield from _words(inner, f"{path} {name}".strip())
            continue
        if action.help == argparse.SUPPRESS:
            continue
        own += action.option_strings
        choices = [str(each) for each in getattr(action, "forms", None) or action.choices or ()]
        if not action.option_strings:
            own += choices
        for option in action.option_strings if choices else ():
            yield f"{path} {option}".strip(), choices
    yield path, own


def _bash(words: Words, *, zsh: bool) -> str:
    cases = "\n".join(f"    {path!r}) words='{' '.join(each)}' ;;" for path, each in sorted(words.items()))
    known = " ".join(f"'{path}'" for path in sorted(words) if path and "-" not in path.rpartition(" ")[2][:1])
    return f"""{"autoload -U +X bashcompinit && bashcompinit" if zsh else ""}
_onboard_words() {{
  case "$1" in
{cases}
    *) words='' ;;
  esac
}}
_onboard() {{
  local words path='' word each current="${{COMP_WORDS[COMP_CWORD]}}" last="${{COMP_WORDS[COMP_CWORD-1]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    for each in {known}; do
      if [[ "$each" == "${{path:+$path }}$word" ]]; then path="$each"; break; fi
    done
  done
  _onboard_words "${{path:+$path }}$last"
  if [[ "$last" != -* || -z "$words" ]]; then _onboard_words "$path"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _onboard onboard""".strip()


def _fish(words: Words) -> str:
    lines = ["complete -c onboard -n __fish_use_subcommand -a '" + " ".join(_bare(words[""])) + "'"]
    for path, each in sorted(words.items()):
        command, _, option = path.rpartition(" ")
        if option.startswith("-"):
            lines.append(f"complete -c onboard {_seen(command)} {_named(option)} -x -a '{' '.join(each)}'")
            continue
        lines += [f"complete -c onboard {_seen(path)} {_named(word)}" for word in each if word.startswith("-")]
        if path and (inner := _bare(each)):
            lines.append(f"complete -c onboard {_seen(path)} -a '{' '.join(inner)}'")
    return "\n".join(lines)


def _bare(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("-")]


def _seen(path: str) -> str:
    """The condition that all words of a command were written."""
    tests = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in path.split())
    return f"-n '{tests}'" if tests else ""


def _named(option: str) -> str:
    return f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
