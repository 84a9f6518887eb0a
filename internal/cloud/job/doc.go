// Package job changes the twins of many devices, or calls a method of each: the
// scheduled jobs of IoT Hub. A job has a condition, a time to start, and a window
// in which it may work.
//
//	           Create                    start, and fewer than
//	             │                       the limit are running
//	scheduled ◀──┴──▶ queued ─────────────────┐
//	    │  start          ▲                   ▼
//	    └─────────────────┘                running ──▶ completed
//	                                          │ ├────▶ failed: nobody could be selected
//	               Cancel, at any time before └─┴────▶ cancelled
//
//	of each device:  pending ──▶ running ──▶ completed, failed
//	                    │  ◀────────┘ the device went away before it was called
//	                    └──▶ failed (window over), canceled
//
// Whom a job is for is decided once, when it starts, and written down before the
// first device is touched. After a restart a job goes on where it was: a device
// that is pending is worked on (again: a twin may be updated twice, never not at
// all), one that was being called is not called a second time, and recorded as
// failed.
//
// It does not know protocols, nor how conditions are evaluated.
package job
