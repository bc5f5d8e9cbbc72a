package props

import (
	"fmt"
	"strings"
	"time"

	"github.com/poolproof/poolproof/model"
)

// schedKind says what an entry of a log reports.
type schedKind uint8

const (
	schedCalled    schedKind = iota // a call is about to reach the pool
	schedReturned                   // it has returned
	schedGivenUp                    // the context of a call is about to end
	schedHookBegan                  // a hook has been called
	schedHookEnded                  // it is about to return
	schedTick                       // a tick of time has passed; before it everything was at rest
	schedRest                       // everything is at rest
)

// schedEntry is one thing observed. Fields that its kind does not name are zero.
type schedEntry struct {
	kind      schedKind
	call      int         // of a call: its number
	hook      model.Event // schedHookBegan: as the model reports it
	answer    model.Op    // schedHookEnded: how it ended
	cancelled bool        // schedHookEnded: its context had ended
	rest      *schedStill // schedRest
	at        time.Duration
}

// schedCall is one call into the pool, and what came of it.
type schedCall struct {
	verb    schedVerb
	op      model.Op // its form for the model; what has none is OpNone
	stale   bool     // its context had ended before
	aborted bool     // the call has not returned when the log ends

	// What an acquire or try returned.
	granted bool
	worker  model.Worker
	token   uint64 // 0: unknown
	fresh   bool
	blind   bool // the caller is not told whether it is fresh
	reason  model.Reason

	closed bool  // of resize and ready: ErrClosed
	forced bool  // of close and shutdown: a *ShutdownError
	tally  Tally // of stat
}

// client is who makes the call, from 1.
func (c *schedCall) client() model.Client { return c.op.Client }

// schedStill is what is seen when everything is at rest.
type schedStill struct {
	tally   Tally
	counted bool                        // tally is known
	held    [model.MaxClientSlots]uint8 // by client: 0 no lease, 1 a lease, 2 a revoked one
	ended   []model.Event               // of the running hooks whose context has ended: the model's event
}

// String writes what an entry adds to the transcript of a log.
func (e *schedEntry) text(calls []schedCall) string {
	switch e.kind {
	case schedCalled:
		return calls[e.call].text()
	case schedReturned:
		return calls[e.call].outcome()
	case schedGivenUp:
		return "its context ends"
	case schedHookBegan:
		return e.hook.String()
	case schedHookEnded:
		text := e.answer.String()
		if e.cancelled {
			text += " (cancelled)"
		}
		return text
	case schedTick:
		return "a tick passes"
	}
	return "at rest"
}

// text writes what is called.
func (c *schedCall) text() string {
	text := c.verb.String()
	if c.op.Kind != model.OpNone {
		text = c.op.String()
		text = strings.Replace(text, fmt.Sprintf(" client=%d", c.op.Client), "", 1)
	}
	if c.stale {
		text += " stale"
	}
	return text
}

// outcome writes what a call returned.
func (c *schedCall) outcome() string {
	switch {
	case c.acquires() && c.granted:
		text := fmt.Sprintf("granted worker %d", c.worker)
		if c.token > 0 {
			text += fmt.Sprintf(", token %d", c.token)
		}
		if c.fresh {
			text += ", fresh"
		}
		return text
	case c.acquires():
		return "refused: " + c.reason.String()
	case c.verb == schedReady && c.reason == model.ReasonCancelled:
		return "gives up"
	case c.closed:
		return "refused: " + model.ReasonClosed.String()
	case c.forced:
		return "closed by force"
	case c.verb == schedStat:
		return fmt.Sprintf("%+v", c.tally)
	}
	return "done"
}

// acquires tells whether the call may get a lease.
func (c *schedCall) acquires() bool {
	return c.op.Kind == model.OpAcquire || c.op.Kind == model.OpTry
}

// closes tells whether the call waits for the end of the pool.
func (c *schedCall) closes() bool { return c.op.Kind == model.OpClose }

// schedLog is the record of a run. The order of its entries is that of real time.
type schedLog struct {
	entries []schedEntry
	calls   []schedCall
	ticks   time.Duration // that have passed
	timed   bool          // ticks count; without, time is none of the model's
	judging *schedJudge   // the last one, whose memory the next one may have
}

// add appends an entry observed at that time since the run began.
func (l *schedLog) add(at time.Duration, e schedEntry) {
	for l.timed && (l.ticks+1)*fullTick <= at {
		l.ticks++
		l.entries = append(l.entries, schedEntry{kind: schedTick, at: l.ticks * fullTick})
	}
	e.at = at
	l.entries = append(l.entries, e)
}

// columns prints the log with a column for each client and a last one for hooks and time.
func (l *schedLog) columns(clients int) string {
	cells := [][]string{make([]string, clients+1)}
	for i := range clients {
		cells[0][i] = fmt.Sprintf("client %d", i+1)
	}
	cells[0][clients] = "hooks and time"
	for i := range l.entries {
		e := &l.entries[i]
		column, indent := clients, ""
		switch e.kind {
		case schedCalled, schedReturned, schedGivenUp:
			column = int(l.calls[e.call].client()) - 1
			if e.kind != schedCalled {
				indent = "  "
			}
		}
		row := make([]string, clients+1)
		row[column] = indent + e.text(l.calls)
		cells = append(cells, row)
	}
	return fullTable(cells)
}
