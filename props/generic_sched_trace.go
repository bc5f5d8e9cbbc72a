package props

import (
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/sched"
)

// genTable prints what the tasks of a run did, step by step: one column for each client,
// whose tasks follow one another, and a last one for the pool's own goroutines, moments at
// which contexts end, and time. A star marks a preemption.
func genTable(trace *sched.Trace) string {
	columns := map[string]int{}
	var header []string
	names := trace.Tasks()
	for _, name := range names {
		if _, known := columns[name]; !known && genClientTask(name) {
			columns[name] = len(header)
			header = append(header, name)
		}
	}
	rows := [][]string{append([]string{" step"}, append(header, "others")...)}
	for i, step := range trace.Steps() {
		if step.Task >= 0 && names[step.Task] == "main" { // it begins what the script says, and looks
			continue
		}
		text := step.Text
		if step.Where != "" && !genOwnPoint(text) {
			text += " " + step.Where
		}
		row := make([]string, len(rows[0]))
		row[0] = fmt.Sprintf("%5d", i)
		if step.Preempts {
			row[0] += "*"
		}
		at := len(row) - 1
		switch {
		case step.Task < 0:
		case genClientTask(names[step.Task]):
			at = 1 + columns[names[step.Task]]
		default:
			text = names[step.Task] + ": " + text
		}
		row[at] = text
		rows = append(rows, row)
	}
	return fullTable(rows)
}

// genClientTask tells whether a task of that name does a client's lines.
func genClientTask(name string) bool {
	return strings.HasPrefix(name, "c") && strings.Trim(name[1:], "0123456789") == "" && name != "c"
}

// genOwnPoint tells whether a point is one of this machine, which is nowhere in the pool.
func genOwnPoint(text string) bool {
	for h := range genHooks {
		if text == h.String() || text == h.goesOn() {
			return true
		}
	}
	return strings.HasPrefix(text, "c") && genClientTask(strings.Fields(text)[0])
}
