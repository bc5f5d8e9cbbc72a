package process_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// TestTwoHostsDoNotTouchEachOther has two hosts on one machine. What one of them stops,
// kills or leaves behind is no concern of the other's workers.
func TestTwoHostsDoNotTouchEachOther(t *testing.T) {
	checkLeftovers(t)
	host := exec.Command(self())
	host.Env = []string{roleVariable + "=host"}
	host.Stderr = os.Stderr
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		host.Process.Kill()
		host.Wait()
	}
	defer end()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var theirs []int
	if err == nil {
		err = json.Unmarshal(line, &theirs)
	}
	if err != nil || len(theirs) != 3 {
		t.Fatalf("the other host says %q, error %v; want the PIDs of 3 workers", line, err)
	}

	ours := newPool(t, roleConfig("demo"), pool.Config[*process.Worker]{MaxSize: 1})
	lease, err := ours.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Release()
	instance := lease.Worker().Instance()
	for _, cfg := range []process.Config{roleConfig("family"), {Fork: forkServer(t, "forker", "family", nil)}} {
		other := newPool(t, cfg, pool.Config[*process.Worker]{MinSize: 2, MaxSize: 2})
		victim, err := other.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(victim.Worker().PID(), syscall.SIGKILL)
		await(t, victim.Worker().Done(), "the victim's end")
		victim.Release()
		if err := other.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if cfg.Fork != nil {
			syscall.Kill(cfg.Fork.PID(), syscall.SIGKILL)
			if err := cfg.Fork.Close(); err == nil {
				t.Error("a fork server that was killed is said to have gone in good order")
			}
		}
	}
	if slices.ContainsFunc(theirs, func(pid int) bool { return !alive(pid) }) {
		t.Errorf("of the other host's workers %v not all are alive", theirs)
	}

	end()
	for _, pid := range theirs {
		eventually(t, fmt.Sprintf("worker %d of the killed host is gone", pid), func() bool { return !alive(pid) })
	}
	if err := lease.Worker().Ping(t.Context()); err != nil || lease.Worker().Instance() != instance || !lease.Worker().Usable() {
		t.Errorf("after the other host's end our worker answers %v", err)
	}
}
