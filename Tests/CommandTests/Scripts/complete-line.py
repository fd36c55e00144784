"""Types a line into a shell, has it complete the last word, and prints the words behind WORDS as the shell then means them.

usage: complete-line.py SHELL FOLDER SCRIPTS LINE WORDS

The shell is interactive and on a terminal of its own. It reads the completion scripts SCRIPTS, one a line, goes to FOLDER,
and gets all words inserted that it offers. What the line is then is evaluated as arguments of printf(1), so that a word
that was not quoted as it must be shows itself, or runs. fish says what it would insert without a terminal.
"""

import os
import pty
import select
import shlex
import subprocess
import sys
import tempfile
import time

shell, folder, scripts, line, count = sys.argv[1:]
sources = [f"source {shlex.quote(script)}" for script in scripts.split("\n")]


def main():
    if shell == "fish":
        words = f"{'; '.join(sources)}; complete --escape -C $argv[1] | string replace -r '\\t.*' ''; true"
        completed = run(["fish", "--no-config", "-c", words, line]).replace("\n", " ")
        skipped = 0
    else:
        completed = typed()
        skipped = int(count)
    words = run([shell, "-c", f"printf '%s\\0' {completed}"]).split("\0")[:-1]
    print("\n".join(words[skipped:]))


def run(command):
    environment = {**os.environ, "RBLOCK_RUN": f"{folder}/.run"}
    return subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def typed():
    """The line as bash or zsh has it in the end. A key of its own has it written to a file."""
    with tempfile.TemporaryDirectory() as home:
        result = f"{home}/line"
        environment = {"HOME": home, "PATH": os.environ["PATH"], "TERM": "dumb", "LC_ALL": "C.UTF-8",
                       "RBLOCK_RUN": f"{folder}/.run"}
        if shell == "bash":
            command, complete = ["bash", "--norc", "--noprofile", "-i"], "\x1b*"
            write = f'printf "%s" "$READLINE_LINE" >{result}.part; mv {result}.part {result}'
            settings = [f"bind -x '\"\\C-x\\C-p\": {write}'"]
        else:
            command, complete = ["zsh", "-f", "-i"], "\t"
            write = f'print -rn -- "$BUFFER" >{result}.part; mv {result}.part {result}'
            settings = [f"p() {{ {write} }}; zle -N p; bindkey '^X^P' p",
                        "zstyle ':completion:*' completer _all_matches _complete; zstyle ':completion:*' insert true"]
            sources.insert(0, "autoload -Uz compinit; compinit -u -D")
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        os.write(terminal, "".join(f"{text}\n" for text in [*sources, *settings, "echo rea''dy"]).encode())
        wait(terminal, lambda seen: b"ready" in seen)
        os.write(terminal, f"{line}{complete}\x18\x10".encode())
        wait(terminal, lambda seen: os.path.exists(result))
        os.close(terminal)
        os.waitpid(process, 0)
        with open(result, encoding="utf-8") as file:
            return file.read()


def wait(terminal, is_done):
    seen, end = b"", time.monotonic() + 60
    while not is_done(seen):
        if time.monotonic() > end:
            sys.exit(f"{shell}: {line}: nothing comes of it: {seen[-2000:]!r}")
        if select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 65536)


main()
