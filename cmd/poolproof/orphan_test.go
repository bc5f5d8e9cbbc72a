package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	patience  = 30 * time.Second // for what only has to happen
	goneAfter = 2 * time.Second  // what a death may take to reach every process
)

// relative is a process that descends from a command, found by the mark in its environment.
type relative struct {
	pid, parent   int
	layer, worker bool
}

func (r relative) String() string {
	return fmt.Sprintf("pid %d, layer %v, worker %v", r.pid, r.layer, r.worker)
}

// relatives lists the living processes that have the mark. A zombie has no environment.
func relatives(mark string) (found []relative) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environment, []byte(mark)) {
			continue // another's, or just gone
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		found = append(found, relative{
			pid: pid, parent: parent,
			layer:  bytes.Contains(environment, []byte(roleVariable+"="+roleLayer)),
			worker: bytes.Contains(environment, []byte("POOLPROOF_CHANNEL=")),
		})
	}
	return found
}

// await polls until cond holds, and fails the test after the deadline.
func await(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(within)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !cond() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// busy is a command that verifies pools of processes.
type busy struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	temp, mark     string
	layer          relative
	reap           func() // waits for it; until then its number is nobody else's
}

// startBusy starts a command and returns when the workers of its layer are there.
func startBusy(t *testing.T, args ...string) *busy {
	t.Helper()
	b := &busy{}
	b.cmd, b.temp = poolproof(t, append([]string{"verify", "--process-checks", "100000"}, args...)...)
	b.mark = filepath.Join(b.temp, "mark")
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.reap = sync.OnceFunc(func() { _ = b.cmd.Wait() })
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		b.reap()
	})
	await(t, patience, "a layer and a worker of it", func() bool {
		all := relatives(b.mark)
		for _, layer := range all {
			for _, worker := range all {
				if layer.layer && layer.parent == b.cmd.Process.Pid && worker.worker && worker.parent == layer.pid {
					b.layer = layer
					return true
				}
			}
		}
		return false
	})
	return b
}

// killLayer kills the layer's process and nothing else.
func (b *busy) killLayer(t *testing.T) {
	t.Helper()
	layer, err := os.FindProcess(b.layer.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Release()
	// The process that was just opened is the one that was found if it is still there.
	for _, r := range relatives(b.mark) {
		if r == b.layer {
			if err := layer.Kill(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the layer is gone before it was killed")
}

// wait returns the exit code.
func (b *busy) wait(t *testing.T) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		b.reap()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("the command has not ended %v later", patience)
	}
	return b.cmd.ProcessState.ExitCode()
}

// nothingLeft demands that every process of the command is gone soon.
func (b *busy) nothingLeft(t *testing.T) {
	t.Helper()
	begin := time.Now()
	var left []relative
	defer func() {
		if t.Failed() {
			t.Logf("left: %v", left)
		}
	}()
	await(t, goneAfter, "the end of every process of the command", func() bool {
		left = relatives(b.mark)
		return len(left) == 0
	})
	t.Logf("nothing is left after %v", time.Since(begin))
}

// onProcessLayers runs a test for each layer of processes.
func onProcessLayers(t *testing.T, test func(t *testing.T, layer string)) {
	t.Helper()
	for _, layer := range []string{layerGo, layerPython} {
		t.Run(layer, func(t *testing.T) {
			if layer == layerPython {
				needPython(t)
			}
			test(t, layer)
		})
	}
}

func TestNothingSurvivesTheCommand(t *testing.T) {
	onProcessLayers(t, func(t *testing.T, layer string) {
		b := startBusy(t, "--layer", layer)
		if err := b.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		b.nothingLeft(t)
	})
}

func TestDeathOfALayerIsAFailure(t *testing.T) {
	onProcessLayers(t, func(t *testing.T, layer string) {
		b := startBusy(t, "--json", "--layer", layer+",memory", "--checks", "1", "--seed", "7")
		b.killLayer(t)
		if code := b.wait(t); code != exitFailed {
			t.Errorf("exit code: got %d, want %d; %s", code, exitFailed, &b.stderr)
		}
		b.nothingLeft(t)
		tempFilesLeft(t, b.temp)
		got := parseVerification(t, b.stdout.Bytes())
		failed := 0
		for _, r := range got.Rows {
			if r.Layer == layer && r.Verdict == verdictFailed {
				failed++
			}
			if r.Layer == layerMemory && r.Verdict != verdictPassed {
				t.Errorf("the other layer: got %+v, want it to be verified all the same", r)
			}
		}
		want := "layer's process: signal: killed"
		if failed != 1 || got.Passed || len(got.Failures) != 1 || !strings.Contains(got.Failures[0], want) {
			t.Errorf("got %d failed rows, passed %v, failures %q; want 1, false, one with %q", failed, got.Passed, got.Failures, want)
		}
	})
}

func TestInterruptPrintsWhatThereIs(t *testing.T) {
	for _, test := range []struct {
		name string
		sig  syscall.Signal
		all  bool // the whole process group, as a terminal does
	}{
		{"interrupt", syscall.SIGINT, false},
		{"interrupt from a terminal", syscall.SIGINT, true},
		{"terminate", syscall.SIGTERM, false},
		{"hang up", syscall.SIGHUP, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := startBusy(t, "--json", "--layer", "go,memory")
			pid := b.cmd.Process.Pid // not reaped yet, so it is ours
			if test.all {
				pid = -pid
			}
			if err := syscall.Kill(pid, test.sig); err != nil {
				t.Fatal(err)
			}
			if code := b.wait(t); code != exitCannot {
				t.Errorf("exit code: got %d, want %d", code, exitCannot)
			}
			b.nothingLeft(t)
			tempFilesLeft(t, b.temp)
			if want := "poolproof: interrupted: "; !strings.Contains(b.stderr.String(), want) {
				t.Errorf("standard error: got %q, want it to have %q", &b.stderr, want)
			}
			got := parseVerification(t, b.stdout.Bytes())
			if got.Passed || len(got.Failures) > 0 || len(got.Rows) != 3+11 {
				t.Errorf("got passed %v, failures %q, %d rows; want false, none, 14", got.Passed, got.Failures, len(got.Rows))
			}
			if last := got.Rows[len(got.Rows)-1]; last.Verdict != verdictNotRun {
				t.Errorf("the last row: got %q, want %q", last.Verdict, verdictNotRun)
			}
		})
	}
}

func TestInterruptEndsAnExploration(t *testing.T) {
	cmd, _ := poolproof(t, "explore", "--workers", "4", "--sessions", "2", "--clients", "4")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, patience, "a search under way", func() bool { return clockTicks(cmd.Process.Pid) > 20 })
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitCannot || !strings.Contains(stderr.String(), "poolproof: interrupted: ") {
		t.Errorf("got %v, standard error %q; want exit code %d and a message", err, &stderr, exitCannot)
	}
}

// clockTicks returns how much a process has computed, in hundredths of a second.
func clockTicks(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 12 {
		return 0
	}
	n, _ := strconv.Atoi(fields[11])
	return n
}

// parseVerification reads what --json printed, and nothing else.
func parseVerification(t *testing.T, printed []byte) *verification {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(printed))
	dec.DisallowUnknownFields()
	var v verification
	if err := dec.Decode(&v); err != nil || dec.More() {
		t.Fatalf("standard output is not one JSON value: %v\n%s", err, printed)
	}
	return &v
}
