package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/props"
)

// peerRound is how many checks of each subtest are done before the next subtest has its turn.
const peerRound = 500

// peerVariable tells the test of a peer what to do, as JSON.
const peerVariable = "POOLPROOF_PEER"

// peerTold is the value of peerVariable.
type peerTold struct {
	Report string
	Known  []string
	List   bool
}

// peerMessage is what the test of a peer reports.
type peerMessage struct {
	Target string
	Result *props.Result
}

// targets returns the names of the peer's targets.
func (b *built) targets(ctx context.Context, dir string) ([]string, error) {
	messages, out, err := b.run(ctx, dir, &peerTold{List: true})
	if err != nil {
		return nil, fmt.Errorf("listing its targets: %w\n%s", err, out)
	}
	var names []string
	for _, m := range messages {
		names = append(names, m.Target)
	}
	if len(names) == 0 {
		return nil, errors.New("its adapter has no targets; Targets must return one at least")
	}
	return names, nil
}

// verifyTarget does rounds of checks until there are enough, the time is over, or something
// is found.
func (f *peersFlags) verifyTarget(ctx context.Context, dir string, b *built, name string) (peerRow, error) {
	row := peerRow{Target: name, Version: b.version, Module: b.peer.Module, Asked: f.checks, Verdict: verdictPassed}
	began := time.Now()
	for round := uint64(0); row.Executed < f.checks && (round == 0 || time.Since(began) < f.time); round++ {
		checks := min(peerRound, f.checks-row.Executed)
		messages, out, err := b.run(ctx, dir, &peerTold{Known: f.known},
			"-test.run=^TestPeer$/^"+regexp.QuoteMeta(name)+"$", "-test.timeout=30m", "-test.failfast", "-rapid.nofailfile",
			fmt.Sprintf("-rapid.checks=%d", checks), fmt.Sprintf("-rapid.seed=%d", max(1, f.seed+round)))
		if ctx.Err() != nil {
			return row, context.Cause(ctx)
		}
		idle := row.take(messages, checks, f.instrument)
		row.Seconds = time.Since(began).Seconds()
		if row.Broken != nil {
			row.Verdict = verdictBroken
			row.Seed = f.seed + round
			return row, nil
		}
		if err = errors.Join(err, idle); err != nil {
			row.Verdict, row.Output = verdictIncomplete, fmt.Sprintf("%s\n%v", out, err)
			return row, nil
		}
	}
	return row, nil
}

// take adds what a round of so many checks reported, and returns an error if that is less than
// a round that came to an end must report.
func (r *peerRow) take(messages []peerMessage, checks int, instrument bool) error {
	reported := 0
	for _, m := range messages {
		if m.Result == nil {
			continue
		}
		r.Machine = machineBubble
		switch {
		case m.Result.RealTime:
			r.Machine = "real time"
		case m.Result.Mixed:
			r.Machine = "both"
		}
		reported++
		r.Unchecked, r.Runs = m.Result.Unchecked, r.Runs+m.Result.Executed
		r.Known += m.Result.Known
		r.Instrumented = r.Instrumented || m.Result.Instrumented
		if r.Broken = m.Result.Broken; r.Broken != nil {
			r.Runs += r.Broken.Checks - m.Result.Executed
			r.Found, r.Subtest = r.Searched+r.Broken.After.Seconds(), m.Result.Subtest
			return nil
		}
		r.Searched += m.Result.Elapsed.Seconds()
	}
	if instrument && !r.Instrumented {
		r.Unchecked += ", steps of the pool itself"
	}
	if reported < peerSubtests {
		return fmt.Errorf("only %d subtests reported what they did, of %d at least", reported, peerSubtests)
	}
	r.Executed += checks
	return nil
}

// peerSubtests is how many subtests there are at least: Scheduled is not in real time.
const peerSubtests = 4

// run runs the test in dir and returns what it reported and printed. Should this process
// die, the kernel ends that one, and its children with it.
func (b *built) run(ctx context.Context, dir string, told *peerTold, args ...string) ([]peerMessage, string, error) {
	told.Report = filepath.Join(dir, "report")
	if err := os.WriteFile(told.Report, nil, 0o600); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, "", err
	}
	var printed headAndTail
	cmd := exec.CommandContext(ctx, b.test, args...)
	cmd.Dir = dir
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Env = append(cmd.Env, peerVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = &printed, &printed
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = quitGrace
	ended := make(chan error, 1)
	go func() { // the death signal is sent when the thread that starts the process ends
		runtime.LockOSThread()
		ended <- cmd.Run()
	}()
	err = <-ended
	report, readErr := os.ReadFile(told.Report)
	messages, parseErr := parsePeer(report)
	return messages, printed.String(), errors.Join(err, readErr, parseErr)
}

// parsePeer reads a report.
func parsePeer(report []byte) ([]peerMessage, error) {
	var messages []peerMessage
	dec := json.NewDecoder(bytes.NewReader(report))
	for {
		var m peerMessage
		switch err := dec.Decode(&m); err {
		case nil:
			messages = append(messages, m)
		case io.EOF:
			return messages, nil
		default:
			return messages, fmt.Errorf("its report makes no sense: %w", err)
		}
	}
}

// summary says in a line what came of a target.
func (r *peerRow) summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s, %d checks in %.1f s", r.Verdict, r.Machine, r.Runs, r.Seconds)
	if r.Known > 0 {
		fmt.Fprintf(&b, ", %d passed by", r.Known)
	}
	if r.Broken != nil {
		fmt.Fprintf(&b, "; %s: %s", r.Broken.Rule, r.Broken.Text)
	}
	return b.String()
}
