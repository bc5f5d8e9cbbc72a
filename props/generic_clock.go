package props

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// genClock is where a run takes place: in a bubble with virtual time, or in real time.
type genClock interface {
	attach(e *Env)
	start(f func())       // runs f in a goroutine
	rest()                // returns when nothing moves
	sleep(time.Duration)  // lets time pass, and rests
	first() time.Duration // the first wait of a silence
	solo(f func())        // calls f, and lets nothing move meanwhile
}

// genBubble is the clock of a testing/synctest bubble.
type genBubble struct{}

func (genBubble) attach(*Env)          {}
func (genBubble) start(f func())       { go f() }
func (genBubble) rest()                { synctest.Wait() }
func (genBubble) first() time.Duration { return time.Millisecond }
func (genBubble) solo(f func())        { f() }
func (genBubble) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// genReal is the clock of real time. Rest is guessed: nothing was logged for a while.
type genReal struct {
	env    *Env
	label  string
	labels context.Context
}

// genQuiet is how long nothing must have been logged for a rest in real time.
const genQuiet = 2 * time.Millisecond

// genMaxReal bounds what one wait of a script takes in real time.
const genMaxReal = 200 * time.Millisecond

func (c *genReal) attach(e *Env)        { c.env = e }
func (c *genReal) first() time.Duration { return 2 * time.Millisecond }
func (c *genReal) solo(f func())        { f() }

// start labels the goroutine, and so all that it starts, as part of this run.
func (c *genReal) start(f func()) {
	go pprof.Do(c.labels, pprof.Labels(), func(context.Context) { f() })
}

func (c *genReal) rest() {
	for {
		before := c.env.seen()
		time.Sleep(genQuiet)
		if c.env.seen() == before {
			return
		}
	}
}

func (c *genReal) sleep(d time.Duration) {
	time.Sleep(d)
	c.rest()
}

// leaked returns the stacks of goroutines of this run that have not ended, after giving
// them that long.
func (c *genReal) leaked(patience time.Duration) string {
	for wait := time.Millisecond; ; wait *= 2 {
		var b strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
		var left []string
		for stack := range strings.SplitSeq(b.String(), "\n\n") {
			if strings.Contains(stack, "\""+c.label+"\"") && !strings.Contains(stack, "genRealRun") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || patience <= 0 {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(wait)
		patience -= wait
	}
}

// genHangAfter is how long, in real time, a bubble may take for one run of Verify.
const genHangAfter = 5 * time.Second

// genInBubble runs f in a bubble and returns what it panicked with: nil, or the runtime's
// word that goroutines are left behind. Hung is true if it did not come to its end within
// the limit, in which case it is left behind; the process can go on without it.
func genInBubble(t *testing.T, limit time.Duration, f func()) (panicked any, hung bool) {
	done := make(chan any, 1)
	go func() {
		var caught any
		defer func() {
			if p := recover(); p != nil && caught == nil {
				caught = p
			}
			done <- caught
		}()
		synctest.Test(t, func(*testing.T) {
			defer func() {
				caught = recover()
				if e, ok := caught.(runtime.Error); ok { // who passes the panic on loses where it was
					caught = fmt.Sprintf("%v\n%s", e, debug.Stack())
				}
			}()
			f()
		})
	}()
	return genAwait(done, limit)
}

// genAwait returns what comes from a channel, or that nothing does for so long.
func genAwait[T any](from <-chan T, limit time.Duration) (got T, none bool) {
	for range genHangParts { // a process that gets no time to run sees few of them pass
		timer := time.NewTimer(limit / genHangParts)
		select {
		case got = <-from:
			timer.Stop()
			return got, false
		case <-timer.C:
		}
	}
	return got, true
}

// genHangParts is in how many parts the time is waited that makes a hang: what was kept from
// running for longer than a part has only hung for that one.
const genHangParts = 50

// genDeadlock reports whether that panic says that goroutines are left in a bubble.
func genDeadlock(p any) bool {
	return strings.HasPrefix(fmt.Sprint(p), "deadlock: ")
}

// genBubbleStacks returns the stacks of the goroutines in the bubble made last, but for
// those that belong to this machine.
func genBubbleStacks() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	last := 0
	var kept []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		head, _, _ := strings.Cut(stack, "\n")
		_, number, _ := strings.Cut(head, "synctest bubble ")
		bubble, err := strconv.Atoi(strings.TrimSuffix(number, "]:"))
		short := genFrames(stack)
		if err != nil || bubble < last || strings.Count(short, "\n") < 2 {
			continue
		}
		if bubble > last {
			last, kept = bubble, nil
		}
		kept = append(kept, short)
	}
	const most = 8
	if more := len(kept) - most; more > 0 {
		kept = append(kept[:most], fmt.Sprintf("(%d more)", more))
	}
	return strings.Join(kept, "\n")
}

// genFrames shortens a stack to its head and its functions outside of this machine,
// without addresses.
func genFrames(stack string) string {
	lines := strings.Split(stack, "\n")
	var b strings.Builder
	b.WriteString(lines[0] + "\n")
	for i := 1; i+1 < len(lines); i += 2 {
		name, created := strings.CutPrefix(lines[i], "created by ")
		if j := strings.LastIndex(name, "("); j > 0 && !created {
			name = name[:j]
		}
		name, _, _ = strings.Cut(name, " in goroutine ")
		own := strings.Contains(name, "poolproof/props.(*gen") || strings.Contains(name, "poolproof/props.gen") ||
			strings.Contains(name, "poolproof/props.(*race") || strings.Contains(name, "poolproof/props.newRace") ||
			strings.Contains(name, "poolproof/sched.")
		if own || strings.HasPrefix(name, "runtime/") || strings.Contains(name, "testing") || name == "panic" ||
			strings.HasPrefix(name, "internal/") {
			continue
		}
		file, _, _ := strings.Cut(strings.TrimSpace(lines[i+1]), " +0x")
		b.WriteString("  " + name + "\n    " + file + "\n")
	}
	return b.String()
}

// genRealRuns numbers the runs in real time, so that each finds its own goroutines.
type genRealRuns struct {
	mu sync.Mutex
	n  int // guarded by mu
}

func (g *genRealRuns) next(name string) *genReal {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
	label := fmt.Sprintf("%s-%d-%d", name, time.Now().UnixNano(), g.n)
	return &genReal{label: label, labels: pprof.WithLabels(context.Background(), pprof.Labels("poolproof", label))}
}
