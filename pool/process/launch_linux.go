package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool"
)

// pipePair is one pipe between the host and a process.
type pipePair struct{ host, child *os.File }

// newPipe makes a pipe whose ends are closed on exec. The host's end is non-blocking, so
// that closing it interrupts its readers; the child's blocks, as programs expect.
func newPipe(childReads bool, name string) (pipePair, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return pipePair{}, os.NewSyscallError("pipe2", err)
	}
	child, host := fds[0], fds[1]
	if !childReads {
		child, host = host, child
	}
	if err := unix.SetNonblock(host, true); err != nil {
		unix.Close(child)
		unix.Close(host)
		return pipePair{}, os.NewSyscallError("fcntl", err)
	}
	return pipePair{os.NewFile(uintptr(host), name), os.NewFile(uintptr(child), name)}, nil
}

// plumbing is the pipes of a worker.
type plumbing struct{ requests, replies, output pipePair }

func newPlumbing(id pool.WorkerID) (*plumbing, error) {
	pipes := &plumbing{}
	for pair, childReads := range map[*pipePair]bool{&pipes.requests: true, &pipes.replies: false, &pipes.output: false} {
		var err error
		if *pair, err = newPipe(childReads, whose(id)); err != nil {
			pipes.closeHost()
			pipes.closeChild()
			return nil, err
		}
	}
	return pipes, nil
}

func (p *plumbing) closeHost()  { closeAll(p.requests.host, p.replies.host, p.output.host) }
func (p *plumbing) closeChild() { closeAll(p.requests.child, p.replies.child, p.output.child) }

// channel returns the host's side; it does not own the output.
func (p *plumbing) channel() *duplex {
	return &duplex{replies: p.replies.host, requests: p.requests.host}
}

// closeAll closes the files that exist.
func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// duplex joins two pipes to a channel.
type duplex struct{ replies, requests *os.File }

func (d *duplex) Read(p []byte) (int, error)  { return d.replies.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.requests.Write(p) }
func (d *duplex) Close() error                { return errors.Join(d.requests.Close(), d.replies.Close()) }

// launch starts a process with a channel, which also gets the inherited files, as its last
// descriptors. On success the caller owns the channel and owes an end to the process; on
// failure nothing is left. The error is a *LaunchError.
func launch(cfg *Config, id pool.WorkerID, inherited ...*os.File) (io.ReadWriteCloser, *osProcess, error) {
	prog := cfg.program()
	pipes, err := newPlumbing(id)
	if err != nil {
		return nil, nil, prog.failed(id, err)
	}
	defer pipes.closeChild()
	channel, files := "3,4", []*os.File{nil, pipes.output.child, pipes.output.child, pipes.requests.child, pipes.replies.child}
	if cfg.Stdio {
		channel, files = "0,1", []*os.File{pipes.requests.child, pipes.replies.child, pipes.output.child}
	}
	files = append(files, inherited...)
	p := newProcess(id, pipes.output.host, cfg.Logger, cfg.LogRate)
	if err := p.start(&prog, ChannelVariable+"="+channel, files); err != nil {
		pipes.closeHost()
		return nil, nil, err
	}
	return pipes.channel(), p, nil
}

func (p *program) failed(id pool.WorkerID, err error) error {
	return &LaunchError{ID: id, Command: p.command[0], Err: err}
}

// start starts the program with files as its descriptors, and no others; the first may be
// nil, which stands for /dev/null. The error is a *LaunchError.
func (p *osProcess) start(prog *program, variable string, files []*os.File) error {
	path, err := prog.find()
	if err != nil {
		return prog.failed(p.id, err)
	}
	if files[0] == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return prog.failed(p.id, err)
		}
		defer null.Close()
		files[0] = null
	}
	highest, err := inheritable()
	if err != nil {
		return prog.failed(p.id, err)
	}
	given := make([]uintptr, max(len(files), highest+1))
	for i := range given {
		given[i] = ^uintptr(0) // is closed in the new process
		if i < len(files) {
			given[i] = files[i].Fd()
		}
	}
	started := make(chan error, 1)
	onThread(prog.umask != nil || prog.nice != 0, func() {
		p.run(prog, path, &syscall.ProcAttr{
			Dir:   prog.dir,
			Env:   prog.environment(variable, os.LookupEnv),
			Files: given,
			Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
		}, started)
	})
	if err := <-started; err != nil {
		return prog.failed(p.id, err)
	}
	runtime.KeepAlive(files)
	go p.output.copy(p.pid())
	return nil
}

// onThread runs f on a goroutine that has a thread to itself. If f spoils the thread, that
// is not the main one, whose attributes are taken for the process's, and ends with f.
func onThread(spoils bool, f func()) {
	go func() {
		runtime.LockOSThread()
		switch {
		case !spoils:
			defer runtime.UnlockOSThread()
			f()
		case unix.Gettid() == unix.Getpid():
			defer runtime.UnlockOSThread()
			begun := make(chan struct{})
			onThread(true, func() {
				close(begun)
				f()
			})
			<-begun
		default:
			f()
		}
	}()
}

// find returns the absolute path of the program.
func (p *program) find() (string, error) {
	path, err := exec.LookPath(p.command[0])
	if err == nil {
		return filepath.Abs(path)
	}
	var reason *exec.Error
	if errors.As(err, &reason) {
		err = reason.Err // which the caller puts the name to
	}
	var location *fs.PathError
	if errors.As(err, &location) {
		err = location.Err
	}
	if errors.Is(err, exec.ErrNotFound) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return "", err
}

// explain says what is missing where the kernel only says that something is.
func (p *program) explain(path string, err error) error {
	if p.dir != "" {
		info, dirErr := os.Stat(p.dir)
		if dirErr == nil && !info.IsDir() {
			dirErr = &fs.PathError{Op: "chdir", Path: p.dir, Err: syscall.ENOTDIR}
		}
		if dirErr != nil {
			return fmt.Errorf("working directory: %w", dirErr)
		}
	}
	if !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.EACCES) {
		return err
	}
	file, openErr := os.Open(path)
	if openErr != nil {
		return err
	}
	defer file.Close()
	line, _ := bufio.NewReaderSize(io.LimitReader(file, 256), 256).ReadString('\n')
	if interpreter, ok := strings.CutPrefix(line, "#!"); ok {
		return fmt.Errorf("its interpreter, %q: %w", strings.TrimSpace(interpreter), err)
	}
	if errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("its loader: %w", err)
	}
	return err
}
