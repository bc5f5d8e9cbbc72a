package fallback

// Entries returns how many sessions the table has memory of, known or not.
func (c *Chain[T]) Entries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.table.sessions)
}
