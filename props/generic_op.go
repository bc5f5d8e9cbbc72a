package props

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/poolproof/poolproof/sched"
)

// genVerb is what a line of a script does. Simple verbs come first.
type genVerb uint8

const (
	genVAcquire genVerb = iota
	genVRelease
	genVCancel
	genVWait
	genVTry
	genVDiscard
	genVEnd
	genVNext
	genVOpen
	genVEndSession
	genVResize
	genVReset
	genVCreate
	genVAgain
	genVClose
	genVShutdown
	genVReopen
	genVChurn
	genVerbs
)

func (v genVerb) String() string {
	return [...]string{
		"acquire", "release", "cancel", "wait", "try", "discard", "end", "next", "open", "end-session", "resize", "reset",
		"create", "again", "close", "shutdown", "reopen", "churn",
	}[v]
}

// String returns the ending in a word.
func (e Ending) String() string { return [...]string{"normal", "error", "panic", "goexit"}[e] }

// genOp is one line of a script. Fields that its verb does not name are zero.
type genOp struct {
	verb     genVerb
	together bool // the next line does not wait until this one has come to rest
	client   int  // from 1; 0 for wait, next and open
	session  string
	done     bool          // the context has ended before the call
	wait     time.Duration // of wait; of acquire: the context's timeout
	max      int
	ending   Ending
	hook     genHook
	plan     genPlan
	gate     int    // of open: which of the waiting hooks, from 1
	how      genHow // of open: how the hook ends
}

// String returns the line, which parseGenOp reads back.
func (o genOp) String() string {
	var b strings.Builder
	if o.together {
		b.WriteString("& ")
	}
	if o.client > 0 {
		fmt.Fprintf(&b, "c%d ", o.client)
	} else {
		b.WriteString("-- ")
	}
	b.WriteString(o.verb.String())
	switch o.verb {
	case genVAcquire:
		if o.session != "" {
			b.WriteString(" session=" + o.session)
		}
		if o.wait > 0 {
			b.WriteString(" timeout=" + o.wait.String())
		}
		if o.done {
			b.WriteString(" done")
		}
	case genVShutdown:
		if o.done {
			b.WriteString(" done")
		}
	case genVWait:
		b.WriteString(" " + o.wait.String())
	case genVEnd:
		b.WriteString(" " + o.ending.String())
	case genVEndSession:
		b.WriteString(" " + o.session)
	case genVResize, genVChurn:
		b.WriteString(" " + strconv.Itoa(o.max))
	case genVNext:
		b.WriteString(" " + o.hook.String() + " " + o.plan.how.String())
		if o.plan.how == genSlow {
			b.WriteString(" " + o.plan.slow.String())
		}
	case genVOpen:
		b.WriteString(" " + strconv.Itoa(o.gate) + " " + o.how.String())
	}
	return b.String()
}

// parseGenOp reads one line of a script, without its comment.
func parseGenOp(line string) (genOp, error) {
	var o genOp
	words := strings.Fields(line)
	if len(words) > 0 && words[0] == "&" {
		o.together = true
		words = words[1:]
	}
	if len(words) < 2 {
		return o, fmt.Errorf("%q: want a client and a verb", line)
	}
	if words[0] != "--" {
		n, err := strconv.Atoi(strings.TrimPrefix(words[0], "c"))
		if err != nil || n < 1 {
			return o, fmt.Errorf("%q: %q is not a client", line, words[0])
		}
		o.client = n
	}
	v, err := genNamed[genVerb](words[1], genVerbs)
	if err != nil {
		return o, fmt.Errorf("%q: %w", line, err)
	}
	o.verb = v
	if (o.client == 0) != o.global() {
		return o, fmt.Errorf("%q: wrong place for %s", line, v)
	}
	if err := o.parseArgs(words[2:]); err != nil {
		return o, fmt.Errorf("%q: %w", line, err)
	}
	return o, nil
}

// global reports whether the line belongs to no client.
func (o genOp) global() bool { return o.verb == genVWait || o.verb == genVNext || o.verb == genVOpen }

// parseArgs reads what follows the verb.
func (o *genOp) parseArgs(args []string) (err error) {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch o.verb {
	case genVAcquire, genVShutdown:
		for _, a := range args {
			switch key, value, _ := strings.Cut(a, "="); key {
			case "session":
				o.session = value
			case "timeout":
				if o.wait, err = time.ParseDuration(value); err != nil {
					return err
				}
			case "done":
				o.done = true
			default:
				return fmt.Errorf("unknown argument %q", a)
			}
		}
	case genVWait:
		o.wait, err = time.ParseDuration(arg(0))
	case genVEnd:
		o.ending, err = genNamed(arg(0), Goexit+1)
	case genVEndSession:
		o.session = arg(0)
	case genVResize, genVChurn:
		o.max, err = strconv.Atoi(arg(0))
	case genVNext:
		if o.hook, err = genNamed(arg(0), genHooks); err != nil {
			return err
		}
		if o.plan.how, err = genNamed(arg(1), genGateCtx+1); err == nil && o.plan.how == genSlow {
			o.plan.slow, err = time.ParseDuration(arg(2))
		}
	case genVOpen:
		if o.gate, err = strconv.Atoi(arg(0)); err == nil {
			o.how, err = genNamed(arg(1), genPanics+1)
		}
	}
	return err
}

// genNamed returns the value below end that prints as that word.
func genNamed[T interface {
	~uint8
	String() string
}](word string, end T) (T, error) {
	for v := T(0); v < end; v++ {
		if v.String() == word {
			return v, nil
		}
	}
	return 0, fmt.Errorf("unknown word %q", word)
}

// genSessions are the names of sessions that runs use.
func genSessions() []string { return []string{"a", "b", "c"} }

// genScript is all that a run is made of.
type genScript struct {
	target    string // may be missing
	ops       []genOp
	scheduled bool // a scheduler runs the clients
	schedule  sched.Schedule
	racing    bool   // real goroutines run the clients, in real time
	seed      uint64 // of what hooks and holders do in a race
}

// parseScript reads a script: the target's name, its lines, and its schedule or its race, if
// it has one.
func parseScript(text string) (s genScript, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if name, ok := strings.CutPrefix(line, "target "); ok {
			s.target = strings.TrimSpace(name)
			continue
		}
		if schedule, ok := strings.CutPrefix(line, "schedule "); ok {
			s.scheduled = true
			if s.schedule, err = sched.ParseSchedule(schedule); err != nil {
				return genScript{}, fmt.Errorf("line %d: %w", n, err)
			}
			continue
		}
		if seed, ok := strings.CutPrefix(line, "race "); ok {
			s.racing = true
			if s.seed, err = strconv.ParseUint(strings.TrimSpace(seed), 10, 64); err != nil {
				return genScript{}, fmt.Errorf("line %d: the seed of a race: %w", n, err)
			}
			continue
		}
		o, err := parseGenOp(line)
		if err != nil {
			return genScript{}, fmt.Errorf("line %d: %w", n, err)
		}
		s.ops = append(s.ops, o)
	}
	if s.racing && s.scheduled {
		return genScript{}, errors.New("it has a schedule and is a race; want one of them")
	}
	return s, nil
}

// String returns the text of a script, one line each.
func (s *genScript) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "target %s\n", s.target)
	for _, o := range s.ops {
		b.WriteString(o.String() + "\n")
	}
	if s.scheduled {
		fmt.Fprintf(&b, "schedule %v\n", s.schedule)
	}
	if s.racing {
		fmt.Fprintf(&b, "race %d\n", s.seed)
	}
	return b.String()
}

// genWithout returns ops without those from i to j.
func genWithout(ops []genOp, i, j int) []genOp {
	return slices.Concat(ops[:i], ops[j:])
}
