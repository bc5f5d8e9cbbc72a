package process

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// directWriter writes to a pipe what it takes at once, without waiting for room, on the
// goroutine of the caller. It belongs to the holder of the turn.
type directWriter struct {
	raw     syscall.RawConn
	attempt func(fd uintptr) bool // write; made once, as making it allocates
	parts   [2][]byte
	n       int
	err     error
}

// newDirectWriter returns nil for a channel that is not a pair of pipes.
func newDirectWriter(channel io.ReadWriteCloser) *directWriter {
	pipes, ok := channel.(*duplex)
	if !ok {
		return nil
	}
	raw, err := pipes.requests.SyscallConn()
	if err != nil {
		return nil
	}
	d := &directWriter{raw: raw}
	d.attempt = d.write
	return d
}

// tryWrite writes as much of head and then payload as there is room for, and returns how
// much that was. It keeps neither.
func (d *directWriter) tryWrite(head, payload []byte) (int, error) {
	d.parts, d.n, d.err = [2][]byte{head, payload}, 0, nil
	err := d.raw.Write(d.attempt)
	d.parts = [2][]byte{}
	if err == nil {
		err = d.err
	}
	return d.n, err
}

// write is one attempt. It returns true, as no other is to be made when there is room.
func (d *directWriter) write(fd uintptr) bool {
	var n int
	var err error
	for {
		if len(d.parts[1]) == 0 {
			n, err = unix.Write(int(fd), d.parts[0])
		} else {
			n, err = unix.Writev(int(fd), d.parts[:])
		}
		if err != unix.EINTR {
			break
		}
	}
	d.n = max(n, 0)
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		d.err = err
	}
	return true
}
