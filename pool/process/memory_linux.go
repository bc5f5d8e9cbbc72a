package process

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// sharedMemory is memory that a worker shares, for payloads. The host writes to its first
// half and reads the second; see docs/protocol.md.
type sharedMemory struct {
	file *os.File // to be inherited; nil once it is closed
	size int      // of the file; both halves are whole pages

	mu   sync.RWMutex // held for reading while data is copied
	data []byte       // guarded by mu: the mapping; nil once it is gone
}

// newSharedMemory makes memory of at least so many bytes. The seals keep the worker from
// truncating it, which would make the host fault.
func newSharedMemory(bytes int) (_ *sharedMemory, err error) {
	unit := 2 * os.Getpagesize()
	size := (bytes + unit - 1) / unit * unit
	fd, err := unix.MemfdCreate("poolproof", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("process: shared memory: %w", os.NewSyscallError("memfd_create", err))
	}
	file := os.NewFile(uintptr(fd), "shared memory")
	defer func() {
		if err != nil {
			file.Close()
			err = fmt.Errorf("process: shared memory: %w", err)
		}
	}()
	if err = file.Truncate(int64(size)); err != nil {
		return nil, err
	}
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	data, err := wire.Map(fd, size)
	if err != nil {
		return nil, err
	}
	return &sharedMemory{file: file, size: size, data: data}, nil
}

// inherited returns what a process is to inherit: the file, if there is one.
func (m *sharedMemory) inherited() []*os.File {
	if m == nil || m.file == nil {
		return nil
	}
	return []*os.File{m.file}
}

// closeFile closes the file once the worker has it; the mapping stays.
func (m *sharedMemory) closeFile() {
	if m != nil && m.file != nil {
		m.file.Close()
		m.file = nil
	}
}

// unmap gives the memory back, once no copy is under way.
func (m *sharedMemory) unmap() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.data != nil {
		unix.Munmap(m.data)
		m.data = nil
	}
}

// put copies a payload into the host's half and returns its offset. It returns false if it
// does not fit, or if there is no memory for it any more.
func (m *sharedMemory) put(payload []byte) (offset int, ok bool) {
	if len(payload) > m.size/2 {
		return 0, false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.data == nil {
		return 0, false
	}
	return 0, wire.Copy(m.data, payload) == nil
}

// workerRange reads a range and checks that it lies in the worker's half.
func (m *sharedMemory) workerRange(text []byte) (offset, bytes int, err error) {
	return wire.Range(text, m.size/2, m.size)
}

// copyOut copies a range into into, as far as its capacity suffices, else into new memory.
func (m *sharedMemory) copyOut(into []byte, offset, bytes int) ([]byte, error) {
	if cap(into) < bytes {
		into = make([]byte, bytes)
	}
	into = into[:bytes]
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.data == nil {
		return nil, ErrStopped
	}
	if err := wire.Copy(into, m.data[offset:offset+bytes]); err != nil {
		return nil, fmt.Errorf("process: shared memory: %w", err)
	}
	return into, nil
}
