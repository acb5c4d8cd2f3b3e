package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// print writes v as JSON, or the lines, as -o says.
func (a *app) print(v any, lines ...string) error {
	if a.output == "json" {
		return a.printJSON(v)
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printTable writes v as JSON, or the rows as a table.
func (a *app) printTable(v any, header []string, rows [][]string) error {
	if a.output == "json" {
		return a.printJSON(v)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		for i := range row {
			row[i] = cmp.Or(row[i], "-") // an empty cell would break the column, and read badly with cut and awk
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (a *app) warn(message string) { fmt.Fprintf(a.stderr, "popctl: warning: %s\n", message) }

func (a *app) warnAll(messages []string) {
	for _, m := range messages {
		a.warn(m)
	}
}

// paint colours the lines of a plan by their sign when standard output is a terminal.
func (a *app) paint(lines []string) []string {
	if !a.isTerminal(a.stdout) || a.getenv("NO_COLOR") != "" {
		return lines
	}
	colours := map[byte]string{'+': "\x1b[32m", '-': "\x1b[31m", '~': "\x1b[33m"}
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = line
		if line == "" {
			continue
		}
		if colour, ok := colours[line[0]]; ok {
			out[i] = colour + line + "\x1b[0m"
		}
	}
	return out
}

// isTerminal tells whether somebody looks at w who can see colours and bars.
func (a *app) isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && a.getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// when writes a time as all of popctl's output does: RFC 3339, UTC, whole seconds.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// oneLine keeps what others wrote (messages in the history) from breaking a table or playing with the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
