package process_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/python"
)

// bareReady is a Python program that says that it is there, and bareFork one that says so
// from a new process whenever it is asked.
const (
	bareReady = `import os
os.write(1, b"x")
os.read(0, 1)
`
	bareLoaded = "import poolproof_worker\n" + bareReady
	bareFork   = `import os
while os.read(0, 1):
    pid = os.fork()
    if pid == 0:
        os.write(1, b"x")
        os._exit(0)
    os.waitpid(pid, 0)
`
)

// BenchmarkStart measures the time from the start of a worker until it has answered hello,
// beside that from the start of a bare process until it has written a byte. The two take
// turns; what is reported are the medians and the median of the ratios. Stops are not
// measured.
func BenchmarkStart(b *testing.B) {
	demo := pythonConfig(b, python.Demo())
	interpreter, program := demo.Command[0], demo.Command[len(demo.Command)-1]
	dir := filepath.Dir(program)
	server, err := python.ForkServerCommand(b.Context(), dir, program)
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		worker []string
		bare   []string
	}{
		{"python", []string{interpreter, "-u", program}, []string{interpreter, "-u", "-c", bareReady}},
		{"python-loaded", []string{interpreter, "-u", program}, []string{interpreter, "-u", "-c", bareLoaded}},
		{"python-S-E", demo.Command, []string{interpreter, "-S", "-E", "-u", "-c", bareReady}},
		{"python-S-E-loaded", demo.Command, []string{interpreter, "-S", "-E", "-u", "-c", bareLoaded}},
	} {
		b.Run("worker="+test.name, func(b *testing.B) {
			compareStarts(b, process.Config{Command: test.worker}, func() time.Duration { return startBareProcess(b, dir, test.bare) })
		})
	}
	b.Run("worker=python-forked", func(b *testing.B) {
		fork, err := process.NewForkServer(process.ForkConfig{Command: server})
		if err != nil {
			b.Fatal(err)
		}
		defer fork.Close()
		compareStarts(b, process.Config{Fork: fork}, bareForker(b, []string{interpreter, "-u", "-c", bareFork}))
	})
	b.Run("worker=go", func(b *testing.B) {
		compareStarts(b, roleConfig("demo"), func() time.Duration { return startBareProcess(b, dir, []string{self()}) })
	})
}

// compareStarts reports how long our starts take beside theirs.
func compareStarts(b *testing.B, cfg process.Config, theirs func() time.Duration) {
	var own, bare, ratios []float64
	once := func() {
		begin := time.Now()
		w, err := process.Start(b.Context(), cfg, 1)
		took := time.Since(begin)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
		other := theirs()
		own, bare, ratios = append(own, float64(took)), append(bare, float64(other)), append(ratios, float64(took)/float64(other))
	}
	once() // loads what is loaded once
	own, bare, ratios = nil, nil, nil
	for b.Loop() {
		once()
	}
	b.ReportMetric(0, "ns/op") // of both together, it would say nothing
	b.ReportMetric(median(own), "ours-ns")
	b.ReportMetric(median(bare), "bare-ns")
	b.ReportMetric(median(ratios), "ratio")
}

// startBareProcess returns how long it takes until a process has written a byte.
func startBareProcess(b *testing.B, dir string, command []string) time.Duration {
	begin := time.Now()
	cmd, requests, replies := bareCommand(b, dir, command)
	if _, err := io.ReadFull(replies, make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begin)
	requests.Close()
	cmd.Wait()
	replies.Close()
	return took
}

// bareForker returns what asks a process, which it starts, to fork.
func bareForker(b *testing.B, command []string) func() time.Duration {
	cmd, requests, replies := bareCommand(b, "", command)
	b.Cleanup(func() {
		requests.Close()
		cmd.Wait()
		replies.Close()
	})
	return func() time.Duration {
		begin := time.Now()
		requests.Write([]byte("x"))
		if _, err := io.ReadFull(replies, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		return time.Since(begin)
	}
}

func bareCommand(b *testing.B, dir string, command []string) (cmd *exec.Cmd, requests, replies *os.File) {
	childReads, requests, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	replies, childWrites, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd = exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, childReads, childWrites, os.Stderr
	cmd.Env = []string{roleVariable + "=bare", "PATH=" + os.Getenv("PATH"), raceVariable}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	childReads.Close()
	childWrites.Close()
	return cmd, requests, replies
}
