"""Shell completion of `-o KEY=VALUE`, of run folders and of installed models."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class, split_arg_string


def complete_override(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the key of an override that the command uses, or the value after its `=`."""
    from captioner.config.checks import is_used
    from captioner.config.option_table import OPTIONS

    key, equals, _ = incomplete.partition("=")
    command = context.command_path.partition(" ")[2]
    used = {path: option for path, option in OPTIONS.items() if is_used(path, command)}
    if not equals:
        return [CompletionItem(f"{path}=", help=option.doc) for path, option in used.items() if path.startswith(key)]
    if key not in used:
        return []
    option = used[key]
    values = (*(option.choices or (("true", "false") if option.kind is bool else ())), *["null"] * option.nullable)
    return [CompletionItem(text) for text in (f"{key}={value}" for value in values) if text.startswith(incomplete)]


def complete_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Complete run folders and installed models; if there are none, let the shell complete files."""
    from captioner.inference.find_checkpoint import RUNS, installed_names, runs_in

    folders = dict.fromkeys((RUNS, Path(os.path.dirname(incomplete))))
    runs = [str(path) for folder in folders for path in sorted(runs_in(folder))]
    names = [name for name in (*runs, *installed_names()) if name.startswith(incomplete)]
    return [*map(CompletionItem, names)] or [CompletionItem(incomplete, type="file")]


@add_completion_class
class Bash(BashComplete):
    """Completion for bash, which splits words at `=` and adds a space after a completion.

    Both would break `-o KEY=VALUE`. So the words are taken from the whole line, completions are shortened to the part
    that bash replaces, and no space follows a key.
    """

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' response type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="$2" %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    while IFS=',' read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                COMPREPLY+=("$value")
                if [[ $value == *= ]]; then compopt -o nospace; fi ;;
        esac
    done <<< "$response"
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        if "COMP_LINE" not in os.environ:  # a shell that still has click's own script
            return super().get_completion_args()
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        if words and not line[-1].isspace():
            return words[:-1], words[-1]
        return words, ""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        option, equals, value = incomplete.partition("=")
        word = value if equals and option.startswith("-") else incomplete
        # bash replaces only the end of the word, which is in COMP_WORD
        kept = max(0, len(word) - len(os.environ.get("COMP_WORD", word)))
        items = super().get_completions(args, incomplete)
        return [CompletionItem(item.value[kept:]) if item.type == "plain" else item for item in items]


@add_completion_class
class Zsh(ZshComplete):
    """Completion for zsh, without a space after the key of an override."""

    source_template = ZshComplete.source_template.replace(
        "_describe -V unsorted completions_with_descriptions -U",
        """local -a nospace
        [[ ${completions_with_descriptions[1]%%%%:*} == *= ]] && nospace=(-S '')
        _describe -V unsorted completions_with_descriptions -U "${nospace[@]}\"""",
    )
