"""Transcripts: commands as one types them, each followed by what it must print. README.md describes the notation."""

import re
from dataclasses import dataclass, field

# What differs from run to run, and what stands for it. Where a table or a column may hold it, what stands for it
# is as wide as what it replaces, so that columns still line up. Order matters.
VARYING = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "YYYY-MM-DDThh:mm:ss.uuuuuuZ"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "YYYY-MM-DDThh:mm:ssZ"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "YYYY-MM-DD hh:mm:ss"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "uuuuuuuu-uuuu-uuuu-uuuu-uuuuuuuuuuuu"),
    (r"sha256:[0-9a-f]{64}", "sha256:DIGEST"),
    (r"(?<=-\d{5}-)[a-z]{3}\b", "xxx"),
    (r"(?<=resourceVersion: )\S+", "VERSION"),
    (r"(?<=etag: )\S+", "ETAG"),
    (r'(?<="etag":)"[^"]+"', '"ETAG"'),
    (r"(?<=traceId: )\S+", "ID"),
    (r'(?<="traceId":)"[^"]+"', '"ID"'),
    (r"(?<=uniqueId: )'\d+'", "'NUMBER'"),
    (r"(?<=oauth2ClientId: )'\d+'", "'NUMBER'"),
    (r"(?<=client-version: )\S+", "VERSION"),
    (r"(?<=client\.knative\.dev/nonce: )\S+", "NONCE"),
    # Of a revision's conditions.
    (r"(?<=(?:ed|hy) in )[\dhm.]+s(?=\.)", "SECONDSs"),
    # Of a log entry.
    (r"(?<=latency: )[\d.]+s", "SECONDSs"),
    (r"(?<=insertId: )\S+", "ID"),
    (r"(?<=instanceId: )\S+", "ID"),
    (r"(?<=spanId: )\S+", "ID"),
    (r"(?<=/traces/)\S+", "ID"),
    # Of an answer that gcloud shows whole.
    (r"'content-length': '\d+', 'date': '[^']*'", "'content-length': 'N', 'date': 'DATE'"),
    (r"^\.+(?=(done|failed)\.$)", ""),
    # One dot for every look that gcloud takes at what it waits for.
    (r"\.{3,}(?=done|failed|$)", "..."),
]
# What no command may print, whatever its transcript says: a field that was empty where gcloud wanted one.
NEVER = re.compile(r"^(Traceback|ERROR: gcloud crashed)|\bUnknown update information\b| \? by |\bon \? |\bby \?", re.MULTILINE)
PROMPT, MORE, STDERR, COMMENT = "$ ", "> ", "! ", "#"


@dataclass
class Step:
    """A command and what it must print."""

    command: str
    line: int
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    code: int = 0

    def __eq__(self, other):
        return (self.stdout, self.stderr, self.code) == (other.stdout, other.stderr, other.code)

    def text(self):
        """As a transcript has it."""
        first, *rest = self.command.split("\n")
        lines = [PROMPT + first, *(MORE + line for line in rest)]
        lines += [f"  {line}".rstrip() for line in self.stdout]
        lines += [(STDERR + line).rstrip() for line in self.stderr]
        return lines + ([f"[exit {self.code}]"] if self.code else [])


class Malformed(Exception):
    """A line of a transcript that is not in the notation."""


def parse(text):
    """The parts of a transcript in order: a Step, or a line (a comment or an empty one) as a str."""
    parts, step = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(PROMPT):
            step = Step(line.removeprefix(PROMPT), number)
            parts.append(step)
        elif line.startswith(COMMENT):
            step = None
            parts.append(line)
        elif step is None:
            if line:
                raise Malformed(f"line {number}: neither a command, a comment nor output of a command: {line}")
            parts.append(line)
        elif line.startswith(MORE) and not (step.stdout or step.stderr):
            step.command += "\n" + line.removeprefix(MORE)
        elif line.startswith(STDERR.rstrip()):
            step.stderr.append(line[len(STDERR):])
        elif exited := re.fullmatch(r"\[exit (\d+)\]", line):
            step.code = int(exited[1])
        elif line.startswith("  ") or not line:
            # An empty line is one of the output, unless nothing of the output follows.
            step.stdout.append(line[2:])
        else:
            raise Malformed(f"line {number}: neither a command, a comment nor output of a command: {line}")
    for step in steps(parts):
        step.stdout = trim(step.stdout)
    return parts


def steps(parts):
    """The commands of a transcript."""
    return [part for part in parts if isinstance(part, Step)]


def render(parts):
    """The text of a transcript, an empty line after each command's output."""
    lines = []
    for before, part in zip([""] + parts, parts):
        if isinstance(before, Step) and lines[-1] != "":
            lines.append("")
        if isinstance(part, Step):
            lines += part.text()
        elif part or (lines and lines[-1] != ""):
            lines.append(part)
    return "\n".join(trim(lines)) + "\n"


def trim(lines):
    """The lines without spaces at their ends, and without empty ones at the end."""
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def normalise(output, own):
    """The lines of an output, with names for what varies. `own` maps texts of this run to what stands for them."""
    for text, name in own.items():
        output = output.replace(text, name)
    for pattern, name in VARYING:
        output = re.sub(pattern, name, output, flags=re.MULTILINE)
    return trim(output.splitlines())


def missing(lines):
    """What an output lacks whatever its transcript says: the labels of a table's columns in which every cell is empty."""
    if never := NEVER.search("\n".join(lines)):
        return f"it prints '{never[0].strip()}'"
    header, rows = (lines[0], [row for row in lines[1:] if row.strip()]) if lines else ("", [])
    labels = list(re.finditer(r"[A-Z][A-Z_]*(?: [A-Z_]+)*", header))
    if not rows or not labels or re.sub(r"[A-Z_ ]", "", header):
        return None
    for label, following in zip(labels, [*labels[1:], None]):
        end = following.start() if following else None
        if all(not row[label.start():end].strip() for row in rows):
            return f"its column {label[0]} is empty"
    return None
