package edge

import (
	"runtime/debug"
	"testing"
)

func TestReclaimableSeesFreedMemoryUntilItIsGivenBack(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // only we collect
	debug.FreeOSMemory()
	before := reclaimable()
	const size = 4 * trimAbove
	block := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	block = nil
	_ = block
	if got := reclaimable(); got < before+size*3/4 {
		t.Errorf("after dropping %d bytes %d are reclaimable, before it %d", size, got, before)
	}
	debug.FreeOSMemory()
	if got := reclaimable(); got > trimAbove {
		t.Errorf("after giving back %d bytes are reclaimable, want less than what is worth a trim (%d)", got, trimAbove)
	}
}
