package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// maxOutput bounds what is kept of a layer's output, in bytes.
const maxOutput = 256 << 10

// superviseLayer runs the command again for one layer. Should this process die, the
// kernel kills that one, and its workers with it.
func superviseLayer(ctx context.Context, l *layer, show *display) (rows []row, output string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	spec, err := json.Marshal(l.spec)
	if err != nil {
		return nil, "", err
	}
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer report.Close()
	lifelineEnd, lifeline, err := os.Pipe()
	if err != nil {
		reportEnd.Close()
		return nil, "", err
	}
	defer lifeline.Close()
	var printed tail
	cmd := exec.CommandContext(ctx, self, string(spec))
	cmd.Env = append(os.Environ(), roleVariable+"=layer")
	cmd.Stdout, cmd.Stderr = &printed, &printed
	cmd.ExtraFiles = []*os.File{reportEnd, lifelineEnd}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	// The death signal is sent when the thread that starts the process ends, so that
	// thread waits for it.
	started := make(chan error, 1)
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		reportEnd.Close()
		lifelineEnd.Close()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, "", err
	}
	rows, readErr := readReport(report, l, show)
	err = <-ended
	return rows, printed.String(), errors.Join(err, readErr)
}

// readReport reads messages until the process has closed its end.
func readReport(report io.Reader, l *layer, show *display) (rows []row, err error) {
	dec := json.NewDecoder(report)
	for {
		var m message
		switch err := dec.Decode(&m); {
		case err == io.EOF:
			return rows, nil
		case err != nil:
			return rows, err
		}
		if m.Progress != nil {
			show.progress(l.name, m.Progress)
		}
		if m.Result != nil {
			rows = append(rows, newRow(l.name, m.Result))
			show.result(rows[len(rows)-1])
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if over := t.buf.Len() - maxOutput; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buf.String() }
