package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// roleVariable makes the test binary, executed again, play a part instead of running
// tests.
const roleVariable = "POOLPROOF_TEST_ROLE"

// raceVariable keeps the race detector from delaying the exit of each worker by a second.
const raceVariable = "GORACE=atexit_sleep_ms=0"

// patience bounds the waits that a passing test ends much sooner.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// play is what the binary does as a worker, good or bad, or as a host.
func play(role string) {
	methods := worker.Demo(nil)
	if part, ok := lifeRoles()[role]; ok {
		part(methods)
		return
	}
	if part, ok := forkerRoles()[role]; ok {
		part(newForker())
		return
	}
	switch role {
	case "demo":
		worker.Main(methods, worker.DemoOptions()...)
	case "noisy", "noisy-stdio": // prints wherever it can
		if role == "noisy" {
			fmt.Println("stray print")
		}
		methods["noise"] = worker.Func(func(_ context.Context, lines int) (bool, error) {
			for i := range lines {
				fmt.Println("stray line", i, "\x00\x00\x00\x02{}")
				fmt.Fprintln(os.Stderr, "error line", i)
			}
			return true, nil
		})
		worker.Main(methods)
	case "stillborn": // exits before hello
		fmt.Fprintln(os.Stderr, "no licence found")
		os.Exit(7)
	case "mute": // never answers hello, nor minds anything
		signal.Ignore(syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "loading")
		select {}
	case "termless": // ignores SIGTERM, and the end of file too
		signal.Ignore(syscall.SIGTERM)
		channel := struct {
			*os.File
			replies *os.File
		}{os.NewFile(3, "requests"), os.NewFile(4, "replies")}
		worker.Serve(context.Background(), duplex{channel.File, channel.replies}, methods)
		select {}
	case "endless": // ignores the end of file, minds SIGTERM
		worker.Serve(context.Background(), duplex{os.NewFile(3, "requests"), os.NewFile(4, "replies")}, methods)
		select {}
	case "family": // starts a process of its own
		methods["child"] = worker.Func(func(context.Context, struct{}) (int, error) {
			child := exec.Command(self())
			child.Env = []string{roleVariable + "=mute"}
			err := child.Start()
			if err != nil {
				return 0, err
			}
			return child.Process.Pid, nil
		})
		worker.Main(methods)
	case "nosy": // tells what it was given
		methods["given"] = worker.Func(func(context.Context, struct{}) (given, error) {
			return given{Env: os.Environ()}, nil
		})
		worker.Main(methods)
	case "aloof", "liar", "meddler":
		playSharing(role, methods)
	case "host":
		playHost()
	default:
		panic("no such role: " + role)
	}
}

type given struct{ Env []string }

// duplex is a channel that a worker has not claimed.
type duplex struct{ requests, replies *os.File }

func (d duplex) Read(p []byte) (int, error)  { return d.requests.Read(p) }
func (d duplex) Write(p []byte) (int, error) { return d.replies.Write(p) }
func (d duplex) Close() error                { return d.replies.Close() }

// playHost starts workers that mind neither SIGTERM nor the end of file, prints their
// PIDs as JSON, and waits to be killed.
func playHost() {
	var pids []int
	for id := range pool.WorkerID(3) {
		w, err := process.Start(context.Background(), process.Config{
			Command: []string{self()}, Env: []string{roleVariable + "=termless"},
		}, id+1)
		if err != nil {
			panic(err)
		}
		pids = append(pids, w.PID())
	}
	json.NewEncoder(os.Stdout).Encode(pids)
	select {}
}

// self returns the path of the test binary.
func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// roleConfig returns a configuration whose workers are the test binary in a role.
func roleConfig(role string) process.Config {
	return process.Config{Command: []string{self()}, Env: []string{roleVariable + "=" + role, raceVariable}}
}

// start starts a worker that is stopped when the test ends, after which nothing of it may
// be left. Where a fork server makes it, whoever has that checks for leftovers.
func start(t *testing.T, cfg process.Config) *process.Worker {
	t.Helper()
	if cfg.Fork == nil {
		checkLeftovers(t)
	}
	w, err := process.Start(t.Context(), cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // at once, by SIGKILL
		w.Stop(ctx)
		await(t, w.Done(), "the worker's end")
	})
	return w
}

// checkLeftovers fails the test if, when it has ended, there are other child processes or
// descriptors than now.
func checkLeftovers(t *testing.T) {
	t.Helper()
	r, w, err := os.Pipe() // so that the runtime has its own descriptors by now
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	openBefore, runningBefore := descriptors(t), children(t)
	t.Cleanup(func() {
		eventually(t, "no child process remains", func() bool { return subset(children(t), runningBefore) })
		eventually(t, "no descriptor remains", func() bool { return subset(descriptors(t), openBefore) })
	})
}

func subset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(s string) bool { return !slices.Contains(whole, s) })
}

func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil {
			open = append(open, entry.Name()+" "+target)
		}
	}
	return open
}

// children returns the PIDs of this process's children, zombies included.
func children(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatalf("the kernel lists no children: %v", err)
	}
	var pids []string
	for _, list := range lists {
		if content, err := os.ReadFile(list); err == nil { // threads come and go
			pids = append(pids, strings.Fields(string(content))...)
		}
	}
	return pids
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

// eventually polls until the claim holds and fails the test if it never does.
func eventually(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is not so that %s", patience, claim)
		}
		time.Sleep(time.Millisecond)
	}
}

func await(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
}
