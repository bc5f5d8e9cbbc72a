package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// The methods of a worker that a load calls, if the worker announces them. With one that
// does not a call is a ping.
const (
	methodEcho = "echo"
	methodPut  = "put"
	methodGet  = "get"
)

// item is the params of put and get.
type item struct {
	Session string          `json:"session"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value,omitempty"`
}

// Result says how a call ended.
type Result uint8

// The results.
const (
	OK         Result = iota
	Cancelled         // its time was over, waiting for a worker or for an answer
	Saturated         // too many waited
	Lost              // its session was lost
	NoStart           // no worker could be started
	Broke             // its worker broke, or died
	Refused           // its worker answered with an error
	Overrun           // the load had too many under way; the system was not called
	Wrong             // the answer was not the call's, or not the session's
	Unexpected        // any other error
	results           // how many there are
)

// resultNames are the names of the results.
func resultNames() [results]string {
	return [...]string{
		"ok", "timed out", "saturated", "session lost", "no worker could start", "worker broke",
		"worker refused", "overrun", "wrong answer", "unexpected error",
	}
}

// String names the result.
func (r Result) String() string { return resultNames()[r] }

// Call is one call of a load, when it is over.
type Call struct {
	Number   int           // from 0
	Intended time.Duration // since the system was opened
	Latency  time.Duration // from then to its answer
	Result   Result
	Session  pool.SessionID
	Worker   pool.WorkerID // 0: it got none
}

// End returns when the call was answered.
func (c *Call) End() time.Duration { return c.Intended + c.Latency }

// story is what is known of a session.
type story struct {
	mu       sync.Mutex
	bound    string           // guarded by mu: the last incarnation that it was bound to
	at       map[string]*told // guarded by mu: what incarnations were told
	bindings int              // guarded by mu: how often it was bound
	ends     int              // guarded by mu: how often the load began to end it
	ended    int              // guarded by mu: how often it has
}

// told is what an incarnation was told of a session. It belongs to the holder of the lease.
type told struct {
	n      int  // the last number that was put; 0: none
	unsure bool // the next one may have been put, too
}

// mostWrongs bounds the texts that are kept of wrong answers.
const mostWrongs = 10

// wrong notes an answer that was wrong.
func (l *loader) wrong(format string, args ...any) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrongs) < mostWrongs {
		l.wrongs = append(l.wrongs, fmt.Sprintf(format, args...))
	}
	return Wrong
}

// call makes one call.
func (l *loader) call(id pool.SessionID, nonce uint64) (worker pool.WorkerID, r Result) {
	ctx, cancel := context.WithTimeout(l.ctx, l.load.Timeout)
	defer cancel()
	ended := l.ended(id)
	lease, err := l.sys.front.acquire(ctx, id)
	if err != nil {
		if errors.Is(err, pool.ErrSessionLost) {
			l.forget(id, ended)
		}
		return 0, l.resultOf(err)
	}
	worker, w := lease.WorkerID(), lease.Worker()
	if id == "" {
		if err = l.sys.perform(ctx, w); err == nil {
			r, err = l.talk(ctx, w, nonce)
		}
	} else {
		t, problem := l.resume(w, id, lease.Fresh())
		if err = l.sys.perform(ctx, w); err == nil {
			r, err = l.goOn(ctx, w, id, t)
		}
		if problem != "" {
			r, err = l.wrong("%s", problem), nil
		}
	}
	if err == nil && l.load.Work > 0 {
		timer := time.NewTimer(l.load.Work)
		<-timer.C
	}
	if errors.Is(err, process.ErrBroken) || errors.Is(err, errFakeAway) {
		lease.Discard(err)
	} else {
		lease.Release()
	}
	if err != nil {
		return worker, l.resultOf(err)
	}
	return worker, r
}

// talk calls a worker for no session: it must answer what it was asked.
func (l *loader) talk(ctx context.Context, w Worker, nonce uint64) (Result, error) {
	if !speaks(w, methodEcho) {
		return OK, w.Ping(ctx)
	}
	var answer []uint64
	if err := w.Call(ctx, methodEcho, []uint64{nonce}, &answer); err != nil {
		return OK, err
	}
	if len(answer) != 1 || answer[0] != nonce {
		return l.wrong("worker %d echoes %v, want [%d]", w.ID(), answer, nonce), nil
	}
	return OK, nil
}

// resume takes down that a session got a lease of a worker, and returns what that incarnation
// was told of it, and what is wrong with the grant, if anything: a session goes on where it
// was bound, and a strict one is bound anew only once it has ended, which the load has it do
// when it is told of its loss.
func (l *loader) resume(w Worker, id pool.SessionID, fresh bool) (t *told, problem string) {
	s := l.story(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	affinity := l.sys.affinity
	switch {
	case fresh:
		s.bindings++
		if affinity == pool.Strict && !l.sys.expires() && s.bindings > s.ends+1 {
			problem = fmt.Sprintf("I8: session %s is bound anew, to worker %d, and was not told of a loss", id, w.ID())
		}
		if affinity != pool.Prefer {
			clear(s.at)
		}
		s.bound = w.Instance()
		s.at[s.bound] = new(told)
	case s.at[w.Instance()] == nil, affinity != pool.Prefer && s.bound != w.Instance():
		problem = fmt.Sprintf("I8: session %s goes on at worker %d (%s), having been at %q", id, w.ID(), w.Instance(), s.bound)
		s.at[w.Instance()] = &told{unsure: true}
	}
	return s.at[w.Instance()], problem
}

// goOn calls the worker of a session: what it was told last must be there, unless the
// session is new to it, which then knows nothing of it.
func (l *loader) goOn(ctx context.Context, w Worker, id pool.SessionID, t *told) (Result, error) {
	if !speaks(w, methodPut) || !speaks(w, methodGet) {
		return OK, w.Ping(ctx)
	}
	var found *string
	if err := w.Call(ctx, methodGet, item{Session: string(id), Key: "n"}, &found); err != nil {
		return OK, err
	}
	n, err := numberOf(id, found)
	switch {
	case err != nil:
		return l.wrong("session %s at worker %d: %v", id, w.ID(), err), nil
	case n == t.n, t.unsure && n == t.n+1:
	case t.n == 0 && !speaks(w, process.MethodSessionEnded): // it is not told, so it may remember
	default:
		return l.wrong("session %s at worker %d finds number %d, want %d", id, w.ID(), n, t.n), nil
	}
	t.n, t.unsure = n, true // if the answer is an error the next one may have been put or not
	value, err := json.Marshal(fmt.Sprintf("%s/%d", id, n+1))
	if err != nil {
		return OK, err
	}
	if err := w.Call(ctx, methodPut, item{Session: string(id), Key: "n", Value: value}, nil); err != nil {
		return OK, err
	}
	t.n, t.unsure = n+1, false
	return OK, nil
}

// numberOf reads a value that was put for a session.
func numberOf(id pool.SessionID, found *string) (int, error) {
	if found == nil {
		return 0, nil
	}
	text, ours := strings.CutPrefix(*found, string(id)+"/")
	n, err := strconv.Atoi(text)
	if !ours || err != nil {
		return 0, fmt.Errorf("finds %q, which was never put", *found)
	}
	return n, nil
}

func (l *loader) story(id pool.SessionID) *story {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[id]
	if s == nil {
		s = &story{at: make(map[string]*told)}
		l.sessions[id] = s
	}
	return s
}

// known returns the sessions that were called, in order.
func (l *loader) known() []pool.SessionID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.sessions))
}

// ended returns how often the load has ended a session.
func (l *loader) ended(id pool.SessionID) int {
	if id == "" {
		return 0
	}
	s := l.story(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// forget ends a session that is lost, so that it can begin anew. Of several calls that are
// told of one loss the first does so: the others were made before the session had ended,
// which is when it had been ended so often.
func (l *loader) forget(id pool.SessionID, before int) {
	s := l.story(id)
	s.mu.Lock()
	first := s.ends == before
	if first {
		s.ends++
	}
	s.mu.Unlock()
	if !first {
		return
	}
	l.sys.front.EndSession(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
}

// speaks says that a worker has announced a method.
func speaks(w Worker, method string) bool { return slices.Contains(w.Methods(), method) }

// resultOf says what the error of a call means. What is given up because the run is cut
// short was waiting.
func (l *loader) resultOf(err error) Result {
	if l.ctx.Err() != nil {
		return Cancelled
	}
	return resultOf(err)
}

// resultOf says what an error means.
func resultOf(err error) Result {
	var start *pool.StartError
	var remote *process.RemoteError
	switch {
	case err == nil:
		return OK
	case errors.Is(err, pool.ErrSessionLost):
		return Lost
	case errors.Is(err, pool.ErrSaturated):
		return Saturated
	case errors.Is(err, context.DeadlineExceeded):
		return Cancelled
	case errors.As(err, &start):
		return NoStart
	case errors.Is(err, process.ErrBroken), errors.Is(err, errFakeAway):
		return Broke
	case errors.As(err, &remote):
		return Refused
	}
	return Unexpected
}
