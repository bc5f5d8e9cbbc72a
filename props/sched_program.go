package props

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/poolproof/poolproof/model"
	"github.com/poolproof/poolproof/sched"
)

// schedVerb is what a line of a program does. Simple verbs come first.
type schedVerb uint8

const (
	schedAcquire    schedVerb = iota // acquire, for a session perhaps; skipped while holding a lease
	schedRelease                     // skipped without a lease, like all that end one
	schedPause                       // let n ticks pass
	schedTry                         // acquire without waiting
	schedDiscard                     // release a worker that must not be used again
	schedUnusable                    // release; Usable says no
	schedDo                          // Do, for a session perhaps; its function returns
	schedDoError                     // the same; its function fails, and so on
	schedDoPanic                     //
	schedDoGoexit                    //
	schedAgain                       // release the last lease a second time
	schedEndSession                  // end a session
	schedRetire                      // report worker n dead
	schedResize                      // to between least and n workers
	schedStat                        //
	schedReady                       //
	schedClose                       //
	schedShutdown                    //
	schedMeet                        // wait until every client has come here, or has ended, or waits for one that is here
	schedVerbs                       // how many there are
)

func (v schedVerb) String() string {
	return [...]string{
		"acquire", "release", "pause", "try", "discard", "unusable", "do", "do-error", "do-panic", "do-goexit",
		"again", "end", "retire", "resize", "stat", "ready", "close", "shutdown", "meet",
	}[v]
}

// schedOp is one line of a client's program. Fields that its verb does not name are zero.
type schedOp struct {
	verb    schedVerb
	session model.Session
	ends    schedEnds // acquire, do, ready and shutdown: when the context ends
	least   uint8
	n       uint8
}

// schedEnds says when the context of a call ends.
type schedEnds uint8

const (
	schedEndsNever  schedEnds = iota
	schedEndsSome             // at a moment that the schedule chooses
	schedEndsBefore           // before the call
)

// waits tells whether the call has a context.
func (v schedVerb) waits() bool {
	switch v {
	case schedAcquire, schedDo, schedDoError, schedDoPanic, schedDoGoexit, schedReady, schedShutdown:
		return true
	}
	return false
}

// sessions tells whether the verb may name a session.
func (v schedVerb) sessions() bool {
	switch v {
	case schedAcquire, schedTry, schedDo, schedDoError, schedDoPanic, schedDoGoexit, schedEndSession:
		return true
	}
	return false
}

// String writes the operation as parseSchedOp reads it.
func (o schedOp) String() string {
	text := o.verb.String()
	if o.session != 0 {
		text += " session=" + o.session.String()
	}
	switch o.verb {
	case schedRetire, schedPause:
		text += " " + strconv.Itoa(int(o.n))
	case schedResize:
		text += fmt.Sprintf(" %d %d", o.least, o.n)
	}
	switch o.ends {
	case schedEndsSome:
		text += " cancelled"
	case schedEndsBefore:
		text += " stale"
	}
	return text
}

// parseSchedOp reads what String wrote.
func parseSchedOp(words []string) (o schedOp, err error) {
	if len(words) == 0 {
		return o, errors.New("no operation")
	}
	if o.verb, err = genNamed(words[0], schedVerbs); err != nil {
		return o, err
	}
	var numbers []uint8
	for _, word := range words[1:] {
		name, isSession := strings.CutPrefix(word, "session=")
		switch {
		case isSession && o.verb.sessions() && len(name) == 1 && name >= "a" && name <= "d":
			o.session = model.Session(name[0] - 'a' + 1)
		case word == "cancelled" && o.verb.waits():
			o.ends = schedEndsSome
		case word == "stale" && o.verb.waits():
			o.ends = schedEndsBefore
		default:
			n, err := strconv.ParseUint(word, 10, 8)
			if err != nil {
				return o, fmt.Errorf("%s: %q makes no sense", o.verb, word)
			}
			numbers = append(numbers, uint8(n))
		}
	}
	want := map[schedVerb]int{schedRetire: 1, schedPause: 1, schedResize: 2}[o.verb]
	switch {
	case len(numbers) != want:
		return o, fmt.Errorf("%s: %d numbers, want %d", o.verb, len(numbers), want)
	case want > 0:
		o.n = numbers[want-1]
		if want > 1 {
			o.least = numbers[0]
		}
	}
	switch {
	case o.verb == schedEndSession && o.session == 0:
		err = errors.New("end: no session")
	case o.verb == schedResize && (o.n < 1 || o.n > model.MaxWorkerSlots || o.least > o.n):
		err = fmt.Errorf("resize: %d %d are no bounds", o.least, o.n)
	}
	return o, err
}

// schedHook says how one call of a hook goes. Hooks of which nothing is said succeed at once.
type schedHook struct {
	hook schedHookKind
	n    uint8 // of start and stop: the worker; of check and tell: which of all of them
	how  fullHow
	slow uint8 // ticks that it takes
}

type schedHookKind uint8

const (
	schedStart schedHookKind = iota
	schedStop
	schedCheck
	schedTell
	schedHookKinds
)

func (k schedHookKind) String() string { return [...]string{"start", "stop", "check", "tell"}[k] }

// String names the way in which a hook ends.
func (how fullHow) String() string { return [...]string{"ok", "error", "panic", "goexit"}[how] }

// String writes the line as parseSchedHook reads it.
func (h schedHook) String() string {
	text := fmt.Sprintf("hook %v %d %v", h.hook, h.n, h.how)
	if h.slow > 0 {
		text += fmt.Sprintf(" slow=%d", h.slow)
	}
	return text
}

// parseSchedHook reads what String wrote, after the first word.
func parseSchedHook(words []string) (h schedHook, err error) {
	if len(words) < 3 {
		return h, errors.New("want hook, number and how it ends")
	}
	if h.hook, err = genNamed(words[0], schedHookKinds); err != nil {
		return h, err
	}
	n, err := strconv.ParseUint(words[1], 10, 8)
	if err != nil {
		return h, fmt.Errorf("%q is no number", words[1])
	}
	h.n = uint8(n)
	if h.how, err = genNamed(words[2], fullGoexit+1); err != nil || len(words) == 3 {
		return h, err
	}
	n, err = strconv.ParseUint(strings.TrimPrefix(words[3], "slow="), 10, 4)
	h.slow = uint8(n)
	return h, err
}

// schedProgram is what one run does, but for the schedule.
type schedProgram struct {
	cfg      *model.Config
	observed bool        // the pool has an Observer
	hooks    []schedHook // in no particular order
	clients  [][]schedOp
}

// length is the number of lines.
func (p *schedProgram) length() int {
	n := len(p.hooks)
	for _, ops := range p.clients {
		n += len(ops)
	}
	return n
}

// meets tells whether clients meet.
func (p *schedProgram) meets() bool {
	return slices.ContainsFunc(p.clients, func(ops []schedOp) bool {
		return slices.ContainsFunc(ops, func(o schedOp) bool { return o.verb == schedMeet })
	})
}

// clone returns a copy that can be changed.
func (p *schedProgram) clone() *schedProgram {
	c := &schedProgram{cfg: p.cfg, observed: p.observed, hooks: slices.Clone(p.hooks)}
	for _, ops := range p.clients {
		c.clients = append(c.clients, slices.Clone(ops))
	}
	return c
}

// hook returns how the hook goes that has that number.
func (p *schedProgram) hook(kind schedHookKind, n int) schedHook {
	for _, h := range p.hooks {
		if h.hook == kind && int(h.n) == n {
			return h
		}
	}
	return schedHook{}
}

// schedScript is a program and a schedule: all that a run is made of.
type schedScript struct {
	program  *schedProgram
	schedule sched.Schedule
}

// String writes the script as parseSchedScript reads it.
func (s *schedScript) String() string {
	var b strings.Builder
	b.WriteString(fullConfigText(s.program.cfg) + "\n")
	if s.program.observed {
		b.WriteString("observed\n")
	}
	for _, h := range s.program.hooks {
		b.WriteString(h.String() + "\n")
	}
	for i, ops := range s.program.clients {
		for _, o := range ops {
			fmt.Fprintf(&b, "c%d %v\n", i+1, o)
		}
	}
	fmt.Fprintf(&b, "schedule %v\n", s.schedule)
	return b.String()
}

// parseSchedScript reads what String wrote. What follows a # is a remark.
func parseSchedScript(text string) (*schedScript, error) {
	s := &schedScript{program: &schedProgram{}, schedule: sched.Schedule{}}
	p := s.program
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		var err error
		client, numbered := strings.CutPrefix(words[0], "c")
		c, notNumber := strconv.Atoi(client)
		switch {
		case words[0] == "config":
			p.cfg, err = parseFullConfig(line)
		case words[0] == "observed":
			p.observed = true
		case words[0] == "hook":
			var h schedHook
			h, err = parseSchedHook(words[1:])
			p.hooks = append(p.hooks, h)
		case words[0] == "schedule":
			s.schedule, err = sched.ParseSchedule(strings.Join(words[1:], " "))
		case numbered && notNumber == nil && c >= 1 && c <= model.MaxClientSlots:
			for len(p.clients) < c {
				p.clients = append(p.clients, nil)
			}
			var o schedOp
			o, err = parseSchedOp(words[1:])
			p.clients[c-1] = append(p.clients[c-1], o)
		default:
			err = errors.New("want config, observed, hook, schedule or a client such as c1")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, strings.TrimSpace(line), err)
		}
	}
	if p.cfg == nil {
		return nil, errors.New("no line begins with config")
	}
	p.cfg.Clients = max(p.cfg.Clients, len(p.clients))
	for _, o := range slices.Concat(p.clients...) {
		p.cfg.Sessions = max(p.cfg.Sessions, int(o.session))
	}
	return s, nil
}
