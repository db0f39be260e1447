/* Trace points for bpftrace, perf and SystemTap (USDT), where <sys/sdt.h> was there to build with.
 *
 * Each is one instruction that does nothing, and a note in the file that says where it is, and in
 * which registers or where in memory its arguments are. So arguments are what is at hand there.
 * docs/watching.md says what they are; their names and order are an interface. */
#ifndef S2N_PROBES_H
#define S2N_PROBES_H

#if defined(__has_include) && __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define S2N_PROBE2(name, a, b) DTRACE_PROBE2(scsi2nvme, name, a, b)
#define S2N_PROBE3(name, a, b, c) DTRACE_PROBE3(scsi2nvme, name, a, b, c)
#else
#define S2N_PROBE2(name, a, b)
#define S2N_PROBE3(name, a, b, c)
#endif

#endif
