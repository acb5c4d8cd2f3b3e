package zkzone

// Ready implements ready.Readiness: true when every zone of every zkzone block
// has data, from the store or from the disk cache, however old. The ready
// plugin asks one handler per plugin name and process, so each answers for all
// blocks.
func (z *ZkZone) Ready() bool {
	if !z.hasData() {
		return false
	}
	holdsMu.Lock()
	defer holdsMu.Unlock()
	for h := range holds {
		if !h.owner.hasData() {
			return false
		}
	}
	return true
}

// hasData tells whether every zone of the block can be answered from: with the
// catalog, that it is known and every zone that it lists.
func (z *ZkZone) hasData() bool {
	t := z.table.Load()
	if t == nil || z.catalogued && !z.known.Load() {
		return false
	}
	for _, here := range t.zones {
		if here.data.Current() == nil {
			return false
		}
	}
	return true
}
