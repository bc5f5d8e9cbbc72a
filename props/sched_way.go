package props

import (
	"cmp"

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
