package props

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

// genChild is a process that runs scripts on a target. It belongs to one goroutine.
type genChild struct {
	cmd     *exec.Cmd
	asks    *os.File // this end of the pipe
	enc     *json.Encoder
	says    chan genSaid  // closed when the child has closed its end
	ended   chan struct{} // closed when the process has been waited for
	ahead   *os.File
	printed genPrinted
	greeted bool // it has come to the call of Verify
	served  int  // asks answered
}

// How long a child has to print its stacks, and to end by itself.
const genQuitGrace = 5 * time.Second

// errGenStopped says that a child was ended on purpose.
var errGenStopped = errors.New("stopped")

// startGenChild starts this test binary again, for one call of Verify.
func startGenChild(role genRole) (*genChild, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(role)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				files = append(files, r, w)
			}
		}
		return r, w
	}
	askEnd, asks := pipe()
	says, sayEnd := pipe()
	if err != nil {
		closeAll()
		return nil, err
	}
	ahead, err := genAheadFile()
	if err != nil {
		closeAll()
		return nil, err
	}
	c := &genChild{
		asks: asks, enc: json.NewEncoder(asks), says: make(chan genSaid, 64), ended: make(chan struct{}), ahead: ahead,
	}
	c.cmd = exec.Command(self, genChildArgs(role.Test)...)
	c.cmd.Env = genChildEnviron(string(text))
	c.cmd.Stdout, c.cmd.Stderr = &c.printed, &c.printed
	c.cmd.ExtraFiles = []*os.File{askEnd, sayEnd, ahead} // genAskFD, genSayFD, genAheadFD
	c.cmd.SysProcAttr = genChildAttr()
	c.cmd.WaitDelay = genQuitGrace
	err = c.start()
	askEnd.Close()
	sayEnd.Close()
	if err != nil {
		asks.Close()
		says.Close()
		ahead.Close()
		return nil, err
	}
	go c.listen(says)
	return c, nil
}

// start starts the process. The death signal is sent when the thread that starts it ends,
// so that thread waits for it.
func (c *genChild) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // ProcessState says it all
			close(c.ended)
		}
	}()
	return <-started
}

// listen passes on what the child says.
func (c *genChild) listen(says *os.File) {
	defer close(c.says)
	defer says.Close()
	dec := json.NewDecoder(says)
	for {
		var said genSaid
		if dec.Decode(&said) != nil {
			return // how the process ends says why
		}
		c.says <- said
	}
}

// genAheadFile makes the file that genMapAhead maps. It has no name.
func genAheadFile() (*os.File, error) {
	f, err := os.CreateTemp("", "poolproof-")
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.Remove(f.Name()), f.Truncate(genAheadSize))
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// genChildArgs are the arguments of a child: the test alone, and what the test binary was
// told apart from how tests are run and reported.
func genChildArgs(test string) []string {
	args := []string{
		"-test.run=^" + strings.ReplaceAll(regexp.QuoteMeta(test), "/", "$/^") + "$", "-test.timeout=0", "-test.count=1",
	}
	flag.Visit(func(f *flag.Flag) {
		own := strings.HasPrefix(f.Name, "test.") && f.Name != "test.short"
		if !own && !strings.HasPrefix(f.Name, "rapid.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

// genChildEnviron is the environment of a child: its parent's, for it is to come to the
// same call of Verify, but what is checked is told by the parent, and a race ends it.
func genChildEnviron(role string) []string {
	var env []string
	race := "halt_on_error=1"
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "GORACE":
			race = value + " " + race
		case name == genChildVariable || strings.HasPrefix(name, "RAPID_"):
		default:
			env = append(env, entry)
		}
	}
	return append(env, genChildVariable+"="+role, "GORACE="+race)
}

// ask lets the child do something and returns its answer, or the finding that its end is.
// Hear is told what it says before. It is silent if for that long it writes nothing ahead.
func (c *genChild) ask(ctx context.Context, ask *genAsk, silence time.Duration, hear func(*genSaid)) (*genSaid, *genFinding, error) {
	if c.enc.Encode(ask) != nil {
		return c.died(ctx) // since its last answer
	}
	tick := time.NewTicker(silence / genHangParts)
	defer tick.Stop()
	beats, silent := c.beats(), 0
	for {
		select {
		case said, open := <-c.says:
			switch {
			case !open:
				return c.died(ctx)
			case !said.Done:
				c.greeted, silent = true, 0
				hear(&said)
				continue
			case said.Error != "":
				return nil, nil, fmt.Errorf("child: %s", said.Error)
			}
			c.served++
			return &said, nil, nil
		case <-ctx.Done():
			return nil, nil, errGenStopped
		case <-tick.C:
			silent++
			if now := c.beats(); now != beats {
				beats, silent = now, 0
			}
			if c.greeted && silent >= genHangParts {
				return nil, c.silent(silence), nil
			}
		}
	}
}

// beats returns the child's count of beats.
func (c *genChild) beats() string {
	var head [8]byte
	_, _ = c.ahead.ReadAt(head[:], 0) // what cannot be read does not change
	return string(head[:])
}

// stop ends the process, if it has not ended, and forgets it.
func (c *genChild) stop() {
	_ = c.cmd.Process.Kill()
	<-c.ended
	for range c.says {
		continue
	}
	c.asks.Close()
	c.ahead.Close()
}

// genPrinted keeps the beginning and the end of what a child prints.
type genPrinted struct {
	mu         sync.Mutex
	head, tail []byte // guarded by mu
}

// genPrintedBytes bounds the beginning, and the end.
const genPrintedBytes = 256 << 10

func (p *genPrinted) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(b), genPrintedBytes-len(p.head))
	p.head = append(p.head, b[:n]...)
	p.tail = append(p.tail, b[n:]...)
	if over := len(p.tail) - genPrintedBytes; over > genPrintedBytes {
		p.tail = append(p.tail[:0], p.tail[over:]...)
	}
	return len(b), nil
}

func (p *genPrinted) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.head) + string(p.tail)
}
