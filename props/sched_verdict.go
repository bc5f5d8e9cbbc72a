package props

import (
	"fmt"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/model"
)

// schedVerdict is what is wrong with a log.
type schedVerdict struct {
	rule string
	text string
	ways []schedWay // before the entry that fits none of them
}

// Error returns the rule, what was seen, and what the model would have had.
func (v *schedVerdict) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", v.rule, v.text)
	for i := range min(len(v.ways), 3) {
		w := &v.ways[i]
		fmt.Fprintf(&b, "\n---- the model could be: %v", &w.state)
		for _, ev := range w.owed {
			if ev.Kind != model.EvNone {
				fmt.Fprintf(&b, "; %v", ev)
			}
		}
		for _, op := range w.answers {
			if op.Kind != model.OpNone {
				fmt.Fprintf(&b, "; %v is under way", op)
			}
		}
	}
	if more := len(v.ways) - 3; more > 0 {
		fmt.Fprintf(&b, "\n---- and %d more", more)
	}
	return b.String()
}

// verdict says what is wrong with an entry that no way leads to.
func (j *schedJudge) verdict(e *schedEntry) error {
	v := &schedVerdict{ways: slices.Clone(j.ways)}
	if len(j.todo) >= schedMostWays {
		v.rule, v.text = "unknown", fmt.Sprintf("more than %d ways in which the model could do this: no verdict", schedMostWays)
		return v
	}
	switch e.kind {
	case schedReturned:
		c := &j.log.calls[e.call]
		v.rule, v.text = c.rule(), fmt.Sprintf("client %d: %s: %s, which fits no order of what was done", c.client(), c.text(), c.outcome())
	case schedHookBegan:
		v.rule = map[model.EventKind]string{
			model.EvStartBegun: "I5", model.EvStopBegun: "I3", model.EvCheckBegun: "I12", model.EvTellBegun: "I9",
		}[e.hook.Kind]
		v.text = fmt.Sprintf("%v, which fits no order of what was done", e.hook)
	case schedHookEnded:
		v.rule, v.text = "I6", fmt.Sprintf("the context of a hook of worker %d has ended, which fits no order of what was done", e.answer.Worker)
	default:
		v.rule, v.text = "I5", "everything is at rest, and the model is not: "+j.missing(e)
	}
	return v
}

// missing says what the nearest way at rest has that was not seen.
func (j *schedJudge) missing(e *schedEntry) string {
	text := "something is missing"
	if e.rest != nil && e.rest.counted {
		text = fmt.Sprintf("the pool counts %+v", e.rest.tally)
	}
	for i := range j.todo {
		if w := &j.todo[i]; j.still(w) {
			return fmt.Sprintf("%s, the model could be: %v", text, &w.state)
		}
	}
	for slot, n := range j.open {
		if n > 0 {
			text += fmt.Sprintf("; client %d has not returned from %s", slot+1, j.log.calls[n-1].text())
		}
	}
	return text
}

// rule is the rule that a wrong outcome of the call most likely breaks.
func (c *schedCall) rule() string {
	switch {
	case c.verb == schedStat:
		return "I15"
	case c.closes() || c.closed:
		return "I13"
	case c.verb == schedRetire || c.verb == schedResize:
		return "I16"
	case c.verb == schedEndSession:
		return "I9"
	case !c.acquires(): // ends a lease: who gets the worker
		return "I7"
	case c.granted:
		return "I7"
	}
	switch c.reason {
	case model.ReasonCancelled:
		return "I6"
	case model.ReasonClosed:
		return "I13"
	case model.ReasonLost:
		return "I8"
	case model.ReasonLimit:
		return "I9"
	case model.ReasonStartFailed:
		return "I10"
	case model.ReasonTimeout:
		return "I4"
	}
	return "I7"
}
