package faults

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/pooltest"
	"github.com/poolproof/poolproof/pool/process"
)

// PlayHost has a pool under load until it is killed. It prints a line for each answer.
func PlayHost() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	p, err := process.NewPool(process.Config{
		Command: []string{self}, Env: []string{"POOLPROOF_TEST_ROLE=demo", "GORACE=atexit_sleep_ms=0"},
	}, pool.Config[*process.Worker]{MaxSize: 3})
	if err != nil {
		panic(err)
	}
	answers := make(chan struct{})
	for range 3 {
		go func() {
			for {
				if err := p.Do(context.Background(), "", func(ctx context.Context, w *process.Worker) error {
					return w.Call(ctx, "sleep", map[string]float64{"seconds": 0.01}, nil)
				}); err == nil {
					answers <- struct{}{}
				}
			}
		}()
	}
	for range answers {
		fmt.Println("answered")
	}
}

// startHost starts a host and returns once it has had so many answers.
func startHost(t *testing.T, answers int) *exec.Cmd {
	t.Helper()
	cfg := goWorker(t, "host")
	host := exec.Command(cfg.Command[0])
	host.Env, host.Stderr = cfg.Env, os.Stderr
	out, err := host.StdoutPipe()
	if err == nil {
		err = host.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range answers {
		if !lines.Scan() {
			t.Fatalf("the host has ended: %v, %v", lines.Err(), host.Wait())
		}
	}
	return host
}

func TestKilledHostLeavesNobody(t *testing.T) {
	pooltest.CheckLeaks(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	death, err := KillHost(ctx, startHost(t, 20))
	if err != nil || death.Descendants != 3 {
		t.Errorf("got %+v, error %v; want 3 descendants that are gone", death, err)
	}
	t.Logf("%+v", death)
}

func TestHostsThatShowNothing(t *testing.T) {
	pooltest.CheckLeaks(t)
	for want, script := range map[string]string{
		"was not killed":     "exit 3",
		"had no descendants": "read line",
		"is left":            "trap '' HUP; sleep 100 & echo $!; read line",
	} {
		t.Run(want, func(t *testing.T) {
			host := exec.Command("sh", "-c", script)
			in, err := host.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := host.StdoutPipe()
			if err == nil {
				err = host.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			var orphan int
			within := patience
			switch want {
			case "is left":
				if _, err := fmt.Fscan(out, &orphan); err != nil {
					t.Fatal(err)
				}
				left, err := os.FindProcess(orphan)
				if err != nil {
					t.Fatal(err)
				}
				defer left.Kill()
				within = tooShort * 10
			case "was not killed":
				bufio.NewReader(out).ReadByte() // until its end
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if death, err := KillHost(ctx, host); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %+v, error %v; want %q", death, err, want)
			}
		})
	}
}
