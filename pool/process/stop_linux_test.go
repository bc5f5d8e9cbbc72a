package process_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/worker"
)

// playLeaver is a worker that closes its channel when it is told to, and lives on. It minds
// SIGTERM alone.
func playLeaver(methods map[string]worker.Method) {
	channel := duplex{os.NewFile(3, "requests"), os.NewFile(4, "replies")}
	methods["leave"] = worker.Func(func(context.Context, struct{}) (bool, error) {
		channel.requests.Close()
		channel.replies.Close()
		select {}
	})
	worker.Serve(context.Background(), channel, methods)
	select {}
}

// playRunaways is a worker that starts a process in a session of its own.
func playRunaways(methods map[string]worker.Method) {
	methods["child"] = worker.Func(func(context.Context, struct{}) (int, error) {
		child := exec.Command(self())
		child.Env = []string{roleVariable + "=sleeper"}
		child.Stderr = os.Stderr
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := child.Start(); err != nil {
			return 0, err
		}
		return child.Process.Pid, nil
	})
	worker.Main(methods)
}

// playSleeper lives until it is killed.
func playSleeper(map[string]worker.Method) {
	signal.Ignore(syscall.SIGTERM)
	select {}
}

// TestWorkerThatClosesItsChannelIsLost has it live on, so that only the channel tells.
func TestWorkerThatClosesItsChannelIsLost(t *testing.T) {
	reports := make(chan error, 1)
	cfg := roleConfig("leaver")
	cfg.CloseGrace, cfg.TermGrace = time.Hour, patience
	cfg.OnExit = func(_ pool.WorkerID, cause error) { reports <- cause }
	w := start(t, cfg)
	err := w.Call(t.Context(), "leave", nil, nil)
	var exit *process.ExitError
	if !errors.Is(err, process.ErrBroken) || errors.As(err, &exit) {
		t.Errorf("got %v, want ErrBroken and no exit", err)
	}
	select {
	case err := <-reports:
		if !errors.Is(err, process.ErrBroken) {
			t.Errorf("reported %v, want ErrBroken", err)
		}
	case <-time.After(patience):
		t.Fatal("the end of the channel was not reported")
	}
	if w.Usable() || !alive(w.PID()) {
		t.Errorf("usable %v, alive %v; want an unusable worker that lives", w.Usable(), alive(w.PID()))
	}
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if alive(w.PID()) {
		t.Error("alive after Stop")
	}
}

// TestDescendantThatLeftTheGroupIsBeyondReach shows a limit that the package comment names,
// and that such a process holds nothing up, though it
// keeps the worker's output open.
func TestDescendantThatLeftTheGroupIsBeyondReach(t *testing.T) {
	w := start(t, roleConfig("runaways"))
	var pid int
	if err := w.Call(t.Context(), "child", nil, &pid); err != nil {
		t.Fatal(err)
	}
	runaway, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer runaway.Release()
	defer runaway.Kill()
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	await(t, w.Done(), "Done")
	if !alive(pid) {
		t.Error("the runaway is dead, so the package comment says too little")
	}
}
