//go:build !linux

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/pool"
)

const drainGrace = 200 * time.Millisecond

// osProcess is never made here: workers reached by Dial work on every system, processes
// on Linux alone.
type osProcess struct {
	output output
	exited chan struct{}
	exit   *ExitError
}

func launch(*Config, pool.WorkerID, ...*os.File) (io.ReadWriteCloser, *osProcess, error) {
	return nil, nil, fmt.Errorf("process: worker processes need Linux: %w", errors.ErrUnsupported)
}

func (p *osProcess) signal(syscall.Signal) {}

func (p *osProcess) send(syscall.Signal) error { return errors.ErrUnsupported }

func (p *osProcess) hold(func(int) error) error { return errors.ErrUnsupported }

func (p *osProcess) pid() int { return 0 }

func (p *osProcess) openCounts() (*os.File, error) { return nil, errors.ErrUnsupported }

// forkRun is never made here.
type forkRun struct{}

func (s *ForkServer) launch(context.Context, *Config, pool.WorkerID, ...*os.File) (io.ReadWriteCloser, *osProcess, error) {
	return nil, nil, fmt.Errorf("process: fork servers need Linux: %w", errors.ErrUnsupported)
}

func (s *ForkServer) shutdown() error { return nil }

func (r *forkRun) pid() int { return 0 }
