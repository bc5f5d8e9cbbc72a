package sched

import (
	"bytes"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/poolproof/poolproof/sched/internal/goid"
)

// Trace is what happened in a run, step by step.
type Trace struct {
	tasks  []string // the columns, in order of creation
	events []event
}

// TraceStep is one step.
type TraceStep struct {
	Task     int    // the column; -1 if time passed
	Text     string // what was done, such as "Lock mutex 1"
	Where    string // the place in the program, as file.go:line, if positions were recorded
	Preempts bool   // another task could have gone on, and this one was chosen
}

// traceLocked returns the trace up to now.
func (s *Scheduler) traceLocked() *Trace {
	tr := &Trace{events: s.events[:len(s.events):len(s.events)]}
	for _, t := range s.everyone {
		tr.tasks = append(tr.tasks, t.name)
	}
	return tr
}

// Tasks returns the names of the tasks: the columns, in order of creation.
func (tr *Trace) Tasks() []string { return tr.tasks }

// Steps returns the steps.
func (tr *Trace) Steps() []TraceStep {
	steps := make([]TraceStep, len(tr.events))
	for i := range tr.events {
		e := &tr.events[i]
		steps[i] = TraceStep{Task: -1, Text: e.text(), Where: position(e.calls), Preempts: e.preempts}
		if e.task != nil {
			steps[i].Task = e.task.column
		}
	}
	return steps
}

// text says what the step does.
func (e *event) text() string {
	text, on := e.op.String(), e.op
	if e.op == OpLabel {
		return e.label
	}
	if e.op == OpWoke {
		text, on = text+" "+e.cause.String(), e.cause
	}
	if object := on.info().object; object != "" && e.number > 0 {
		text += fmt.Sprintf(" %s %d", object, e.number)
	}
	return text
}

// String returns the trace as a table: a line for each step, a column for each task that
// took one. A star marks a preemption.
func (tr *Trace) String() string {
	steps := tr.Steps()
	cells := make([]string, len(steps))
	width := make([]int, len(tr.tasks))
	for i, step := range steps {
		cells[i] = step.Text
		if step.Where != "" {
			cells[i] += " " + step.Where
		}
		if step.Task >= 0 {
			width[step.Task] = max(width[step.Task], utf8.RuneCountInString(cells[i]), utf8.RuneCountInString(tr.tasks[step.Task]))
		}
	}
	var b strings.Builder
	line := func(prefix string, cell func(column int) string) {
		text := prefix
		for column, w := range width {
			if w > 0 {
				text += fmt.Sprintf("  %-*s", w, cell(column))
			}
		}
		b.WriteString(strings.TrimRight(text, " "))
		b.WriteByte('\n')
	}
	line(" step ", func(column int) string { return tr.tasks[column] })
	for i, step := range steps {
		star := " "
		if step.Preempts {
			star = "*"
		}
		prefix := fmt.Sprintf("%5d%s", i, star)
		if step.Task < 0 {
			fmt.Fprintf(&b, "%s  -- %s --\n", prefix, cells[i])
			continue
		}
		line(prefix, func(column int) string {
			if column == step.Task {
				return cells[i]
			}
			return ""
		})
	}
	return b.String()
}

// packagePath is the path of this package, which traces leave out together with the
// drop-in packages below it.
var packagePath = reflect.TypeFor[Scheduler]().PkgPath()

// ours tells whether a function in that file belongs to the machinery. A function literal
// of a function that was inlined has the name of the caller: then the file tells.
func ours(function, file string) bool {
	return strings.HasPrefix(function, packagePath+".") || strings.HasPrefix(function, packagePath+"/shim/") ||
		strings.HasSuffix(filepath.ToSlash(filepath.Dir(strings.TrimSpace(file))), "/sched/shim/lang")
}

// position returns the first place outside the machinery.
func position(calls []uintptr) string {
	if len(calls) == 0 {
		return ""
	}
	frames := runtime.CallersFrames(calls)
	for {
		f, more := frames.Next()
		if f.Function != "" && !ours(f.Function, f.File) && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return ""
		}
	}
}

// whereLocked says where each task is that has not ended.
func (s *Scheduler) whereLocked() string {
	places := map[int64]string{}
	for stack := range bytes.SplitSeq([]byte(allStacks()), []byte("\n\n")) {
		id, _ := goid.Parse(stack)
		places[id] = place(string(stack))
	}
	var parts []string
	for _, t := range s.tasks {
		text := "blocked after " + t.next.text()
		if t.parked {
			text = "before " + s.namedLocked(t.next).text()
		}
		if at := places[t.id]; at != "" {
			text += " at " + at
		}
		parts = append(parts, fmt.Sprintf("%s is %s", t.name, text))
	}
	return strings.Join(parts, "; ")
}

// namedLocked returns the event with the number of its object, if that has one yet.
func (s *Scheduler) namedLocked(e event) *event {
	e.number = s.objects[e.object]
	return &e
}

// place returns the innermost place of a goroutine's stack that is in the program: not in
// the machinery, the runtime or the packages that block on a program's behalf.
func place(stack string) string {
	lines := strings.Split(stack, "\n")
	for i := 1; i+1 < len(lines); i += 2 {
		function := lines[i]
		skip := ours(function, lines[i+1])
		for _, prefix := range []string{"runtime.", "internal/", "sync.", "time.", "context.", "testing/", "created by "} {
			skip = skip || strings.HasPrefix(function, prefix)
		}
		if !skip {
			file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " ")
			return filepath.Base(file)
		}
	}
	return ""
}

// stackHere returns the stack of the calling goroutine where it panicked: names and lines,
// without addresses.
func stackHere() string {
	calls := make([]uintptr, 64)
	frames := runtime.CallersFrames(calls[:runtime.Callers(2, calls)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		if !ours(f.Function, f.File) && f.Function != "" {
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}

// panicText says what a panic was about, without addresses.
func panicText(value any) string {
	switch v := value.(type) {
	case error:
		return "panic: " + v.Error()
	case fmt.Stringer:
		return "panic: " + v.String()
	case string:
		return "panic: " + v
	}
	if v := reflect.ValueOf(value); v.IsValid() && (v.CanInt() || v.CanUint() || v.CanFloat() || v.Kind() == reflect.Bool) {
		return fmt.Sprintf("panic: %v", value)
	}
	return fmt.Sprintf("panic with a value of type %T", value)
}
