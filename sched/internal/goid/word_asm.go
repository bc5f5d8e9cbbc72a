//go:build amd64 || arm64

package goid

const supported = true

// word returns the word at that offset of the calling goroutine's descriptor.
func word(offset uintptr) uint64
