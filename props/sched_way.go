package props

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/poolproof/poolproof/model"
)

// The lists in a way are kept sorted, with what is empty at the end, so that ways that are
// the same are equal.

func schedOrder(a, b model.Event) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Session, b.Session))
}

// owe notes an event that the log is to show. It returns false if there is no room.
func (w *schedWay) owe(ev model.Event) bool {
	if w.owed[schedMaxOwed-1].Kind != model.EvNone {
		return false
	}
	at := 0
	for w.owed[at].Kind != model.EvNone && schedOrder(w.owed[at], ev) <= 0 {
		at++
	}
	copy(w.owed[at+1:], w.owed[at:schedMaxOwed-1])
	w.owed[at] = ev
	return true
}

// owes tells whether an event is still to be shown.
func (w *schedWay) owes(ev model.Event) bool { return w.count(ev) > 0 }

// count returns how often an event is still to be shown.
func (w *schedWay) count(ev model.Event) (n int) {
	for i := range w.owed {
		switch w.owed[i] {
		case model.Event{}:
			return n
		case ev:
			n++
		}
	}
	return n
}

// answered tells whether the hook whose context ends has ended before: nobody sees that.
func (w *schedWay) answered(ev model.Event) bool {
	for i := range w.answers {
		if schedCancelled(w.answers[i]) == ev {
			return true
		}
	}
	return false
}

// settle takes note that an event has been shown, if it was owed.
func (w *schedWay) settle(ev model.Event) {
	for i := range w.owed {
		if w.owed[i] == ev && ev.Kind != model.EvNone {
			copy(w.owed[i:], w.owed[i+1:])
			w.owed[schedMaxOwed-1] = model.Event{}
			return
		}
	}
}

// answer notes that a hook ended. It returns false if there is no room.
func (w *schedWay) answer(op model.Op) bool {
	if w.answers[schedMaxAnswers-1].Kind != model.OpNone {
		return false
	}
	at := 0
	for w.answers[at].Kind != model.OpNone && w.answers[at].Worker <= op.Worker {
		at++
	}
	copy(w.answers[at+1:], w.answers[at:schedMaxAnswers-1])
	w.answers[at] = op
	return true
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

// schedCancelled is the event that says that the context of the hook which gave that answer ended.
func schedCancelled(answer model.Op) model.Event {
	ev := model.Event{Worker: answer.Worker}
	switch answer.Kind {
	case model.OpStarted, model.OpStartFailed:
		ev.Kind = model.EvStartCancelled
	case model.OpChecked, model.OpCheckFailed:
		ev.Kind = model.EvCheckCancelled
	case model.OpTold, model.OpTellFailed:
		ev.Kind = model.EvTellCancelled
	}
	return ev
}
