package props

import (
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// genFinding is a broken promise and the run that showed it.
type genFinding struct {
	violation *model.PromiseViolation
	ops       []genOp
	lines     []genLine
	stacks    string // of what was left behind or stuck; may be empty
	unfit     bool   // the target cannot live in a bubble: nothing is proven
	deadly    bool   // it took the process along
	seen      int    // in how many replays of the script it was seen
	tried     int

	scheduled    bool // a scheduler ran the clients
	schedule     sched.Schedule
	result       *sched.Result // nil if the run hung
	instrumented bool          // the pool has points of its own
	checks       int           // that it took to find; 0: nobody counted
	preemptions  int           // of a schedule
	table        string        // of what a scheduler's tasks did; empty if result has it

	racing bool // real goroutines ran the clients
	seed   uint64
	events []string // of a race, the last ones
}

// took tells what came of a run under a scheduler.
func (f *genFinding) took(result *sched.Result) {
	f.result, f.schedule, f.preemptions = result, result.Schedule, result.Preemptions
}

// steps returns the table of what a scheduler's tasks did.
func (f *genFinding) steps() string {
	if f.result != nil {
		return genTable(f.result.Trace)
	}
	return f.table
}

// Widths of the transcript, in characters.
const (
	genColumn    = 10
	genComments  = 48
	genMostNotes = 16 // behind one line
)

// script returns the run as text that parseScript reads back: one column per client, what
// came of each line as a comment behind it, and the winding down as comments. Under a
// scheduler, and in a race, the lines do not come in the order of the text, so what came of
// them stands below, all in comments.
func (f *genFinding) script(target string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", f.violation.Error())
	fmt.Fprintf(&b, "target %s\n\n", target)
	if f.scheduled || f.racing {
		for _, o := range f.ops {
			b.WriteString(o.column() + "\n")
		}
	}
	if f.scheduled {
		fmt.Fprintf(&b, "schedule %v\n\n# What came of it, in this order:\n", f.schedule)
	}
	if f.racing {
		fmt.Fprintf(&b, "race %d\n\n# The last that happened, one column per client:\n", f.seed)
		for _, e := range f.events {
			b.WriteString("# " + e + "\n")
		}
		return b.String()
	}
	tail := false
	for _, l := range f.lines {
		if l.tail && !tail {
			tail = true
			b.WriteString("# The run winds down: hooks succeed, gates open, leases come back, all is taken once, the pool is closed.\n")
		}
		l.tail = l.tail || f.scheduled
		l.write(&b)
	}
	return b.String()
}

// plain returns the script without what came of it.
func (f *genFinding) plain(target string) string {
	s := f.source(target)
	return s.String()
}

// source returns what the run was made of.
func (f *genFinding) source(target string) genScript {
	return genScript{
		target: target, ops: f.ops, scheduled: f.scheduled, schedule: f.schedule, racing: f.racing, seed: f.seed,
	}
}

// column returns the line in the column of its client.
func (o genOp) column() string { return strings.Repeat(" ", genColumn*max(0, o.client-1)) + o.String() }

// write writes one line.
func (l *genLine) write(b *strings.Builder) {
	text := l.text
	if text == "" {
		text = l.op.column()
	}
	if l.tail || l.text != "" {
		text = "# " + text
	}
	shown := l.notes
	if more := len(shown) - genMostNotes; more > 0 {
		shown = append(shown[:genMostNotes:genMostNotes], fmt.Sprintf("(%d more)", more))
	}
	notes := strings.Join(shown, ", ")
	if notes == "" {
		b.WriteString(text + "\n")
		return
	}
	fmt.Fprintf(b, "%-*s # %s\n", genComments, text, notes)
}

// report returns the whole message of a finding.
func (f *genFinding) report(target, replay string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s breaks %s\n\n", target, f.violation.Error())
	b.WriteString(f.script(target))
	fmt.Fprintf(&b, "\n%d lines", len(f.ops))
	if f.scheduled {
		fmt.Fprintf(&b, ", %d preemptions", f.preemptions)
	}
	if f.checks > 0 {
		fmt.Fprintf(&b, "; found after %d checks", f.checks)
	}
	fmt.Fprintf(&b, "; seen in %d of %d replays.", f.seen, f.tried)
	switch {
	case f.seen == f.tried:
	case f.scheduled:
		b.WriteString(" What the pool's own goroutines do between two points decides, unless it is instrumented.")
	case f.racing:
		fmt.Fprintf(&b, " A replay is up to %d races of these clients; who comes first decides.", raceTries)
	default:
		b.WriteString(" What the script leaves open (the order of what is done together, a select's choice) decides.")
	}
	b.WriteString("\n" + replay + "\n")
	if table := f.steps(); table != "" {
		b.WriteString("\n" + table)
	}
	if f.stacks != "" {
		b.WriteString("\n" + f.stacks)
	}
	return b.String()
}
