package props

import (
	"fmt"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/model"
)

// A trace is a story in text: a configuration, then operations, each with what it caused.
// Lines that begin with # are remarks. Operations are parted by blank lines:
//
//	config MaxSize=1 Clients=2 Sessions=1
//
//	# The first caller causes a start.
//	acquire client=1 session=a
//	----
//	worker 1 start begun
//
// What a new pool does by itself stands under the operation "open". Behind an operation
// variant=N may say how it is done, where that is the same for the model:
//
//   - stop done: 1 by an error, 2 by a panic, 3 by Goexit
//   - start fails, check fails, tell fails: 1 by a panic, 2 by Goexit, instead of an error
//   - release unusable: 1 by a panic of Usable
//   - close: 1 by a Shutdown whose context lasts
//   - force: 1 by another Shutdown, even if the context of a begun one could end
type fullTrace struct {
	head  []string // remarks before the configuration
	cfg   *model.Config
	steps []fullTraceStep
}

// fullTraceStep is one operation of a trace.
type fullTraceStep struct {
	fullPlay // OpNone: open
	remarks  []string
	seen     []model.Event
}

// parseFullTrace reads a trace.
func parseFullTrace(text string) (*fullTrace, error) {
	t := &fullTrace{}
	var remarks []string
	answers := false // the lines are events
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		var err error
		switch {
		case line == "":
			answers = false
			if t.cfg == nil && len(remarks) > 0 {
				t.head, remarks = append(t.head, remarks...), nil
			}
		case line == "----":
			answers = true
		case strings.HasPrefix(line, "#"):
			remarks = append(remarks, line)
		case answers:
			err = t.addEvent(line)
		case strings.HasPrefix(line, "config"):
			t.head, remarks = append(t.head, remarks...), nil
			t.cfg, err = parseFullConfig(line)
		default:
			err = t.addOp(line, remarks)
			remarks = nil
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	if t.cfg == nil {
		return nil, fmt.Errorf("no line begins with config")
	}
	return t, nil
}

func (t *fullTrace) addOp(line string, remarks []string) error {
	play, err := parseFullPlay(line)
	if err == nil && t.cfg == nil {
		err = fmt.Errorf("an operation stands before the config")
	}
	t.steps = append(t.steps, fullTraceStep{fullPlay: play, remarks: remarks})
	return err
}

func (t *fullTrace) addEvent(line string) error {
	if len(t.steps) == 0 {
		return fmt.Errorf("an event stands before the first operation")
	}
	ev, err := model.ParseEvent(line)
	last := &t.steps[len(t.steps)-1]
	last.seen = append(last.seen, ev)
	return err
}

// String writes the trace as parseFullTrace reads it.
func (t *fullTrace) String() string {
	var b strings.Builder
	for _, line := range t.head {
		b.WriteString(line + "\n")
	}
	b.WriteString(fullConfigText(t.cfg) + "\n")
	for _, step := range t.steps {
		if step.op.Kind == model.OpNone && len(step.seen)+len(step.remarks) == 0 {
			continue
		}
		b.WriteByte('\n')
		for _, line := range step.remarks {
			b.WriteString(line + "\n")
		}
		b.WriteString(step.fullPlay.String() + "\n----\n")
		for _, ev := range step.seen {
			b.WriteString(fullEventText(ev) + "\n")
		}
	}
	return b.String()
}

// ReplayTrace does on a pool what the trace in text says, in lock step with the model, and
// returns the trace with what was seen this time. t fails where the model does not allow
// that. target.Config is not used.
func ReplayTrace(t *testing.T, target PoolTarget, text string) string {
	t.Helper()
	trace, err := parseFullTrace(text)
	if err != nil {
		t.Fatalf("trace: %v", err)
	}
	if len(trace.steps) == 0 || trace.steps[0].op.Kind != model.OpNone {
		trace.steps = append([]fullTraceStep{{}}, trace.steps...)
	}
	m := &fullMachine{target: &target, cfg: target.complete(trace.cfg)}
	for _, step := range trace.steps[1:] {
		m.play = append(m.play, step.fullPlay)
	}
	if err := target.judge(t, m); err != nil {
		t.Errorf("%v\n\n%s", err, m.report())
	}
	for i := range trace.steps {
		trace.steps[i].seen = nil
		if i < len(m.script.lines) {
			trace.steps[i].seen = m.script.lines[i].seen
		}
	}
	return trace.String()
}
