package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// quitGrace is how long a layer has to print its stacks.
const quitGrace = 5 * time.Second

// layerEnd is what became of a layer's process.
type layerEnd struct {
	rows    []row
	cost    *cost           // nil unless it came so far
	begun   map[subtest]int // checks done, by subtests that reported progress
	output  string
	err     error // how it ended, unless with code 0
	elapsed time.Duration
}

// superviseLayer runs the command again for one layer. Should this process die, the
// kernel kills that one, and its workers with it. A layer that reports nothing for as long
// as stall says is ended.
func superviseLayer(ctx context.Context, l *layer, stall time.Duration, show *display) (end layerEnd) {
	begin := time.Now()
	defer func() { end.elapsed = time.Since(begin) }()
	end.begun = map[subtest]int{}
	var printed headAndTail
	cmd, report, release, err := l.command(ctx, &printed)
	if err != nil {
		return layerEnd{err: err}
	}
	defer release()

	// The death signal is sent when the thread that starts the process ends, so that
	// thread waits for it.
	started := make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		for _, f := range cmd.ExtraFiles {
			f.Close()
		}
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return layerEnd{err: err}
	}
	var stalled atomic.Bool
	watchdog := time.AfterFunc(stall, func() {
		stalled.Store(true)
		_ = cmd.Process.Signal(syscall.SIGQUIT) // the stacks say where it hangs
		time.AfterFunc(quitGrace, func() { _ = cmd.Process.Kill() })
	})
	readErr := end.read(report, l, show, func() { watchdog.Reset(stall) })
	report.Close() // what is still written fails
	end.err = <-ended
	watchdog.Stop()
	if stalled.Load() {
		end.err = fmt.Errorf("it made no progress for %v and was ended; --stall sets how long to wait", stall)
	}
	end.err = errors.Join(end.err, readErr)
	end.output = printed.String()
	return end
}

// command returns the command of a layer, which prints to out, and the end of the pipe on
// which it reports. release closes this process's ends of the pipes.
func (l *layer) command(ctx context.Context, out io.Writer) (cmd *exec.Cmd, report *os.File, release func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	spec, err := json.Marshal(l.spec)
	if err != nil {
		return nil, nil, nil, err
	}
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	lifelineEnd, lifeline, err := os.Pipe()
	if err != nil {
		report.Close()
		reportEnd.Close()
		return nil, nil, nil, err
	}
	cmd = exec.CommandContext(ctx, self, string(spec))
	cmd.Dir = l.dir
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "RAPID_") { // the flags alone say what is checked
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, roleVariable+"="+roleLayer)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{reportEnd, lifelineEnd} // reportFD and lifelineFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, report, func() {
		report.Close()
		lifeline.Close()
	}, nil
}

// read reads messages until the process has closed its end. It calls alive for each.
func (e *layerEnd) read(report io.Reader, l *layer, show *display, alive func()) error {
	dec := json.NewDecoder(report)
	for {
		var m message
		switch err := dec.Decode(&m); {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return nil // how the process ended says it all
		case err != nil:
			return fmt.Errorf("its report makes no sense: %w", err)
		}
		alive()
		if p := m.Progress; p != nil {
			e.begun[subtest{p.Machine, p.Subtest}] = p.Done
			show.progress(l.name, p)
		}
		if m.Result != nil {
			e.rows = append(e.rows, newRow(l, m.Result))
			show.result(&e.rows[len(e.rows)-1])
		}
		if m.Cost != nil {
			e.cost = m.Cost
			e.cost.Layer = l.name
		}
	}
}

// died reports whether the process ended in another way than tests do.
func (e *layerEnd) died() bool {
	var exit *exec.ExitError
	return e.err != nil && !(errors.As(e.err, &exit) && exit.ExitCode() == exitFailed)
}

// judged returns a row for each subtest that the layer should have run, and what to say if
// it failed. To be interrupted is no failure.
func (e *layerEnd) judged(l *layer, interrupted bool) (rows []row, failure string) {
	missing := l.spec.subtests()
	elapsed := e.elapsed.Seconds()
	passed, failed := true, false
	for _, r := range e.rows {
		missing = slices.DeleteFunc(missing, func(s subtest) bool { return s == subtest{r.Machine, r.Subtest} })
		elapsed = max(0, elapsed-r.Seconds)
		passed = passed && r.Verdict == verdictPassed
		failed = failed || r.Verdict == verdictFailed
	}
	rows = e.rows
	for i, s := range missing {
		r := row{Layer: l.name, Subtest: s.name, Machine: s.machine, Asked: l.spec.Checks, Executed: e.begun[s], Verdict: verdictNotRun}
		switch {
		case i > 0:
		case interrupted && r.Executed > 0:
			r.Verdict, r.Seconds = verdictIncomplete, elapsed
		case !interrupted && e.died():
			r.Verdict, r.Seconds = verdictFailed, elapsed // it died in this one
		}
		rows = append(rows, r)
	}
	switch {
	case interrupted && !failed, passed && len(missing) == 0 && e.err == nil:
		return rows, ""
	case passed && len(missing) == 0: // it failed after the last subtest
		rows = append(rows, row{Layer: l.name, Subtest: "(end)", Machine: "-", Verdict: verdictFailed, Seconds: elapsed})
	}
	return rows, e.failure(l)
}

// failure says what the layer printed, how it ended and how to repeat it.
func (e *layerEnd) failure(l *layer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "layer %s:\n", l.name)
	for line := range strings.Lines(e.output) {
		if strings.Contains(line, "reproduce, specify -run=") {
			continue // for go test; the command's own line is below
		}
		b.WriteString(line)
	}
	if !strings.HasSuffix(b.String(), "\n") {
		b.WriteByte('\n')
	}
	if e.died() {
		fmt.Fprintf(&b, "the layer's process: %v\n", e.err)
	}
	fmt.Fprintf(&b, "Repeat it with: %s", l.replay())
	if l.spec.Kind == kindProcess {
		b.WriteString("\nProcesses differ in timing from run to run: it may take more than one.")
	}
	return b.String()
}

// headAndTail keeps the beginning and the end of what is written to it.
type headAndTail struct {
	head, tail []byte
	omitted    int
}

// keptBytes bounds the beginning, and half of it the end.
const keptBytes = 128 << 10

func (k *headAndTail) Write(p []byte) (int, error) {
	n := min(len(p), keptBytes-len(k.head))
	k.head = append(k.head, p[:n]...)
	k.tail = append(k.tail, p[n:]...)
	if over := len(k.tail) - keptBytes; over > 0 {
		over += keptBytes / 2 // not with every write
		k.omitted += over
		k.tail = append(k.tail[:0], k.tail[over:]...)
	}
	return len(p), nil
}

func (k *headAndTail) String() string {
	if k.omitted == 0 {
		return string(k.head) + string(k.tail)
	}
	return fmt.Sprintf("%s\n... %d bytes are left out ...\n%s", k.head, k.omitted, k.tail)
}
