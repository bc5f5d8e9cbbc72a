package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process"
)

// TestGroupsDieWhereTheKernelSignalsNoneByPidfd has a host on a kernel that is made to seem
// older.
func TestGroupsDieWhereTheKernelSignalsNoneByPidfd(t *testing.T) {
	checkLeftovers(t)
	host := exec.Command(self())
	host.Env = []string{roleVariable + "=old-kernel", raceVariable}
	if out, err := host.CombinedOutput(); err != nil || string(out) != "all gone\n" {
		t.Errorf("the host says %q, error %v; want that all are gone", out, err)
	}
}

// playOldKernel stops and crashes workers that have children, forked ones and others, and
// says whether all went.
func playOldKernel() {
	denyGroupSignals()
	own, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		panic(err)
	}
	if err := unix.PidfdSendSignal(own, 0, nil, 1<<2); err != unix.EINVAL {
		panic(fmt.Sprintf("the filter is not in force: %v", err))
	}
	server, err := process.NewForkServer(process.ForkConfig{
		Command: []string{self()},
		Env:     []string{roleVariable + "=forker", forkedVariable + "=family", raceVariable},
	})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	for _, cfg := range []process.Config{roleConfig("family"), {Fork: server}} {
		for _, end := range []func(*process.Worker){
			func(w *process.Worker) { w.Stop(context.Background()) },
			func(w *process.Worker) { syscall.Kill(w.PID(), syscall.SIGSTOP); w.Stop(context.Background()) },
			func(w *process.Worker) { syscall.Kill(w.PID(), syscall.SIGKILL); <-w.Done() },
		} {
			cfg.CloseGrace, cfg.TermGrace = 50*time.Millisecond, 50*time.Millisecond
			w, err := process.Start(context.Background(), cfg, 1)
			if err != nil {
				panic(err)
			}
			var child int
			if err := w.Call(context.Background(), "child", nil, &child); err != nil {
				panic(err)
			}
			end(w)
			for deadline := time.Now().Add(patience); alive(w.PID()) || alive(child); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					fmt.Printf("worker %d or its child %d is alive\n", w.PID(), child)
					os.Exit(1)
				}
			}
		}
	}
	fmt.Println("all gone")
}
