package edge

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Loading an image, and writing it to the disk cache, leaves several times its
// size in freed memory, which the runtime gives back to the system only over
// minutes and never below its goal of twice the live heap. For a zone of a
// million records that is more than the zone itself (measured: 354 MB resident
// twelve seconds after a first load, against 120 MB when trimmed).
const (
	// trimAfter is how long nothing must have changed: a trim is a full
	// collection, and the disk cache is written behind the switch.
	trimAfter = 5 * time.Second
	// trimAbove is what must be there to gain.
	trimAbove = 8 << 20
)

// stir tells trim that something was loaded or written. It never blocks.
func (s *Source) stir() {
	select {
	case s.stirred <- struct{}{}:
	default:
	}
}

// trim gives freed memory back once things are quiet after a version switch, or a write to the disk cache.
func (s *Source) trim(ctx context.Context) {
	quiet := time.NewTimer(trimAfter)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.stirred:
			quiet.Reset(trimAfter)
		case <-quiet.C:
			if reclaimable() > trimAbove {
				debug.FreeOSMemory()
			}
		}
	}
}

// reclaimable is how much of the process's memory holds nothing, or may soon:
// free pages that were not given back, and garbage up to the next collection.
func reclaimable() uint64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	free, unused, objects, live := samples[0].Value.Uint64(), samples[1].Value.Uint64(), samples[2].Value.Uint64(), samples[3].Value.Uint64()
	return free + unused + objects - min(objects, live)
}
