package worker

import (
	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// claimMemory maps the memory that the host offers and closes its descriptor, so that no
// process which this one starts gets it.
func claimMemory(descriptor, bytes int) ([]byte, error) {
	memory, err := wire.Map(descriptor, bytes)
	if err != nil {
		return nil, err
	}
	unix.Close(descriptor)
	return memory, nil
}

// unmap gives shared memory back.
func (s *server) unmap() {
	if s.memory != nil {
		unix.Munmap(s.memory)
		s.memory = nil
	}
}
