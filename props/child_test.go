package props

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// deadlyPool is a good pool of which a reset takes the process along.
type deadlyPool struct {
	*tinyPool
	how  string
	racy int
}

func (p *deadlyPool) Reset() {
	var mu sync.Mutex
	switch p.how {
	case "exit":
		os.Exit(3)
	case "fatal":
		go mu.Unlock()
	case "race":
		go func() { p.racy++ }()
		p.racy++
	case "hang":
		for {
			runtime.Gosched()
		}
	default:
		go panic("boom")
	}
}

func deadlyTarget(how string) Target {
	target := tinyTarget(2, tinyCorrect)
	target.Name = how
	target.Open = func(env *Env) (Pool, error) { return &deadlyPool{newTinyPool(env, 2, tinyCorrect), how, 0}, nil }
	return target
}

func TestInChildDeadly(t *testing.T) {
	childOnly(t)
	for _, how := range []string{"panic", "exit", "fatal", "race", "hang"} {
		t.Run(how, func(t *testing.T) {
			target := deadlyTarget(how)
			target.Patience = 500 * time.Millisecond
			v := newGenVerifier(t, target)
			v.hang = 2 * time.Second // longer than the patience, however busy the machine: that is to see it
			v.start(t)
		})
	}
}

// What ends the process is a finding like any other: shrunk, kept and replayed.
func TestDeathsAreFindings(t *testing.T) {
	for how, want := range map[string]string{
		"panic": "panic breaks panic: the process died: panic: boom\n",
		"exit":  "exit breaks exit: the process ended (exit status 3) while the pool was in use\n",
		"fatal": "fatal breaks fatal: the process died: fatal error: sync: unlock of unlocked mutex\n",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			out, ok := child(t, dir, "^TestInChildDeadly$/^"+how+"$/^Sequential$", "-rapid.checks=200")
			if ok || !strings.Contains(out, want) || !strings.Contains(out, " c1 reset\n") || !strings.Contains(out, "1 lines; seen in 5 of 5 replays") {
				t.Errorf("got success %v, want %q in one line:\n%s", ok, want, out)
			}
			if kept, err := filepath.Glob(filepath.Join(dir, genTraces, how+"-*.txt")); err != nil || len(kept) != 1 {
				t.Errorf("kept: %v, %v; want one script", kept, err)
			}
			if out, ok = child(t, dir, "^TestInChildDeadly$/^"+how+"$/^Replay$"); ok || !strings.Contains(out, want) {
				t.Errorf("replay: got success %v:\n%s", ok, out)
			}
		})
	}
}

// They are findings under a scheduler and in a race, too, and made short there.
func TestDeathsAreFindingsInEverySubtest(t *testing.T) {
	for how, want := range map[string]string{
		"panic": "panic breaks panic: the process died: panic: boom\n",
		"exit":  "exit breaks exit: the process ended (exit status 3) while the pool was in use\n",
		"fatal": "fatal breaks fatal: the process died: fatal error: sync: unlock of unlocked mutex\n",
		"hang":  "hang breaks I4: client ",
	} {
		for subtest, told := range map[string]string{genScheduledName: "\nschedule none\n", raceName: "\nrace "} {
			if how == "hang" && subtest == genScheduledName { // it is shown in real time
				told = "and then nothing for 500ms"
			}
			lines, shrink := "\n1 lines", "1m"
			if how == "hang" { // each try takes as long as it is waited
				lines, shrink = " lines; seen in 1 of 1", "1s"
			}
			t.Run(how+"/"+subtest, func(t *testing.T) {
				t.Parallel()
				out, ok := child(t, t.TempDir(), "^TestInChildDeadly$/^"+how+"$/^"+subtest+"$",
					"-rapid.checks=300", "-rapid.nofailfile", "-rapid.seed=1", "-rapid.shrinktime="+shrink)
				text := regexp.MustCompile(`\n +`).ReplaceAllString(out, "\n") // a test's log is indented
				if ok || !strings.Contains(text, want) || !strings.Contains(text, told) || !strings.Contains(text, "reset") || !strings.Contains(text, lines) {
					t.Errorf("got success %v, want %q, %q and %q:\n%s", ok, want, told, lines, out)
				}
			})
		}
	}
}

// A script of a race is run again as one.
func TestRaceReplays(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildReplayedRace$")
	if ok || !strings.Contains(out, "panic breaks panic: the process died: panic: boom\n") || !strings.Contains(out, "seen in 5 of 5 replays") {
		t.Errorf("got success %v:\n%s", ok, out)
	}
}

func TestInChildReplayedRace(t *testing.T) {
	childOnly(t)
	v := newGenVerifier(t, deadlyTarget("panic"))
	if role, child, err := genRoleNow(); err != nil || child && role == v.role(t) {
		v.serve(t)
	}
	v.part(t)
	v.replayScript(t, "target panic\nc1 acquire\nc2 reset\nc1 release\nrace 7\n")
}

// stuckPool hangs its Open, in a way that nobody in the process can do anything about.
func TestInChildStuck(t *testing.T) {
	childOnly(t)
	target := tinyTarget(2, tinyCorrect)
	target.Name, target.Patience = "stuck", 500*time.Millisecond
	target.Open = func(*Env) (Pool, error) {
		for {
			runtime.Gosched()
		}
	}
	v := newGenVerifier(t, target)
	v.hang = 500 * time.Millisecond
	v.start(t)
}

// A child that does nothing any more is ended, and its stacks say where it was.
func TestSilenceIsAFinding(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildStuck$/^Sequential$", "-rapid.shrinktime=1s", "-rapid.nofailfile")
	for _, want := range []string{
		"cannot live in a bubble, so hooks are made to wait in real time only", "stuck breaks hang: the process has done nothing for 1s", "TestInChildStuck",
	} {
		if ok || !strings.Contains(out, want) {
			t.Errorf("got success %v, want %q:\n%s", ok, want, out)
		}
	}
}

// bubbleBreaker waits on a channel of another bubble.
type bubbleBreaker struct {
	*tinyPool
	shared chan struct{}
}

func (p *bubbleBreaker) Reset() {
	go func() { <-p.shared }()
	p.tinyPool.Reset()
}

func TestInChildSharing(t *testing.T) {
	childOnly(t)
	var shared chan struct{} // made by the first run, in its bubble
	target := tinyTarget(2, tinyCorrect)
	target.Name = "sharing"
	target.Open = func(env *Env) (Pool, error) {
		if shared == nil {
			shared = make(chan struct{})
			close(shared)
		}
		return &bubbleBreaker{newTinyPool(env, 2, tinyCorrect), shared}, nil
	}
	Verify(t, target)
}

// A pool that the runtime refuses to have in a bubble is checked in real time.
func TestSharingIsUnfitForBubbles(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildSharing$/^Accounting$", "-rapid.nofailfile")
	if !ok || !strings.Contains(out, "sharing cannot live in a bubble, so it is checked in real time: ") {
		t.Errorf("got success %v:\n%s", ok, out)
	}
}

// Two pools of one name that one test verifies are both checked, each by children of its own.
func TestInChildSizes(t *testing.T) {
	childOnly(t)
	for size, bug := range []tinyBug{tinyCorrect, tinyOverCapacity} {
		target := tinyTarget(1+size, bug)
		target.Name = "sizes"
		Verify(t, target)
	}
}

func TestEachSizeIsChecked(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildSizes$/^Sequential", "-rapid.checks=300")
	if ok || strings.Count(out, "sizes breaks I2: ") == 0 || strings.Count(out, "sizes: 300 runs") != 1 {
		t.Errorf("got success %v:\n%s", ok, out)
	}
}

// A child that never gets to Verify says what it printed.
func TestInChildLost(t *testing.T) {
	childOnly(t)
	if os.Getenv(genChildVariable) != "" {
		t.Fatal("this test cannot be repeated")
	}
	Verify(t, tinyTarget(2, tinyCorrect))
}

func TestLostChildIsNoPass(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildLost$")
	if ok || !strings.Contains(out, "this test cannot be repeated") || !strings.Contains(out, "Target.InProcess") {
		t.Errorf("got success %v:\n%s", ok, out)
	}
}

// The memory that a child writes ahead reads back.
func TestAheadReadsBack(t *testing.T) {
	a := &genAhead{mem: make([]byte, genAheadSize)}
	a.op(genOp{verb: genVReset, client: 1}, false)
	a.begin()
	ops := mustParse(t, "c1 acquire; & c2 acquire; c3 close")
	a.note("opened")
	for _, o := range ops[:2] {
		a.op(o, false)
	}
	a.note("c1 has r1")
	a.op(ops[2], true)
	f := readAhead(a.mem)
	if got, want := f.plain("x"), "target x\nc1 acquire\nc2 acquire\n"; got != want {
		t.Errorf("script: got %q, want %q", got, want)
	}
	want := []genLine{
		{text: "open", notes: []string{"opened"}}, {op: ops[0]}, {op: ops[1], notes: []string{"c1 has r1"}}, {op: ops[2], tail: true},
	}
	if !slices.EqualFunc(f.lines, want, func(a, b genLine) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
		t.Errorf("lines: got %v, want %v", f.lines, want)
	}
	for range genAheadSize {
		a.note("much")
	}
	if n := len(readAhead(a.mem).lines); n == 0 {
		t.Error("what goes beyond the memory takes the rest along")
	}
}

// childrenOf returns the processes that are children of a process and live.
func childrenOf(t *testing.T, parent int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(parent) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// until polls until ok, for as long as a loaded machine may take.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: ", what)
		}
	}
}

// There are as many children as processors, and none outlives its parent, however that ends.
func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestInChildSlow$", "-rapid.checks=1000000")
	cmd.Dir = t.TempDir()
	const processors = 3
	cmd.Env = append(os.Environ(), childEnv+"=1", fmt.Sprintf("GOMAXPROCS=%d", processors))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var children []int
	until(t, "it has its children", func() bool {
		children = childrenOf(t, cmd.Process.Pid)
		return len(children) == processors
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range children {
		until(t, "a child is gone", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			_, rest, _ := strings.Cut(string(text), ") ")
			return err != nil || strings.HasPrefix(rest, "Z")
		})
	}
}

func TestInChildLocked(t *testing.T) {
	childOnly(t)
	v := newGenVerifier(t, Target{
		Name: "locked", Capacity: 2, Patience: time.Second,
		Open: func(env *Env) (Pool, error) { return &lockPool{env: env, slots: make(chan struct{}, 2)}, nil },
	})
	v.hang = time.Second
	v.start(t)
}

// A pool that hangs a bubble only while a hook waits stays there with hooks that do not.
func TestLockedHooksAreMixed(t *testing.T) {
	t.Parallel()
	out, ok := child(t, t.TempDir(), "^TestInChildLocked$/^Sequential$", "-rapid.checks=400", "-rapid.nofailfile")
	if !ok || !strings.Contains(out, "locked cannot live in a bubble, so hooks are made to wait in real time only: hang: ") ||
		strings.Contains(out, "so it is checked in real time") {
		t.Errorf("got success %v:\n%s", ok, out)
	}
}
