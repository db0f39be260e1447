"""NVMe data structures, declared once in the field language.

Offsets follow NVMe Base 2.0c and NVM Command Set 1.0c; fields that count from
zero keep that convention under their own name ("0's based" in `doc`).
"""

from scsi2nvme.fields import Field, Structure

SQE_BYTES = 64
CQE_BYTES = 16
IDENTIFY_BYTES = 4096


def _f(name: str, byte: int, last: int, doc: str = "") -> Field:
    """Return a field of whole bytes `byte` to `last`."""
    return Field(name, byte, 0, 8 * (last - byte + 1), doc)


IDENTIFY_CONTROLLER = Structure(
    "Identify Controller",
    4096,
    (
        _f("vid", 0, 1),
        _f("ssvid", 2, 3),
        _f("sn", 4, 23, "serial number, ASCII"),
        _f("mn", 24, 63, "model number, ASCII"),
        _f("fr", 64, 71, "firmware revision, ASCII"),
        _f("rab", 72, 72),
        _f("ieee", 73, 75, "OUI"),
        _f("cmic", 76, 76),
        _f("mdts", 77, 77, "power of two in CAP.MPSMIN pages, 0: no limit"),
        _f("cntlid", 78, 79),
        _f("ver", 80, 83),
        _f("rtd3r", 84, 87, "microseconds"),
        _f("rtd3e", 88, 91, "microseconds"),
        _f("oaes", 92, 95),
        _f("ctratt", 96, 99),
        _f("rrls", 100, 101),
        _f("cntrltype", 111, 111),
        _f("fguid", 112, 127),
        _f("crdt1", 128, 129, "100 ms"),
        _f("crdt2", 130, 131, "100 ms"),
        _f("crdt3", 132, 133, "100 ms"),
        _f("nvmsr", 253, 253),
        _f("oacs", 256, 257),
        _f("acl", 258, 258, "0's based"),
        _f("aerl", 259, 259, "0's based"),
        _f("frmw", 260, 260),
        _f("lpa", 261, 261),
        _f("elpe", 262, 262, "0's based"),
        _f("npss", 263, 263, "0's based"),
        _f("avscc", 264, 264),
        _f("apsta", 265, 265),
        _f("wctemp", 266, 267, "kelvin"),
        _f("cctemp", 268, 269, "kelvin"),
        _f("mtfa", 270, 271, "100 ms"),
        _f("hmpre", 272, 275),
        _f("hmmin", 276, 279),
        _f("tnvmcap", 280, 295, "bytes"),
        _f("unvmcap", 296, 311, "bytes"),
        _f("rpmbs", 312, 315),
        _f("edstt", 316, 317, "minutes"),
        _f("dsto", 318, 318),
        _f("fwug", 319, 319),
        _f("kas", 320, 321),
        _f("hctma", 322, 323),
        _f("mntmt", 324, 325),
        _f("mxtmt", 326, 327),
        _f("sanicap", 328, 331),
        _f("hmminds", 332, 335),
        _f("hmmaxd", 336, 337),
        _f("nsetidmax", 338, 339),
        _f("endgidmax", 340, 341),
        _f("anatt", 342, 342),
        _f("anacap", 343, 343),
        _f("anagrpmax", 344, 347),
        _f("nanagrpid", 348, 351),
        _f("pels", 352, 355),
        _f("sqes", 512, 512),
        _f("cqes", 513, 513),
        _f("maxcmd", 514, 515),
        _f("nn", 516, 519),
        _f("oncs", 520, 521),
        _f("fuses", 522, 523),
        _f("fna", 524, 524),
        _f("vwc", 525, 525),
        _f("awun", 526, 527, "0's based"),
        _f("awupf", 528, 529, "0's based"),
        _f("icsvscc", 530, 530),
        _f("nwpc", 531, 531),
        _f("acwu", 532, 533, "0's based"),
        _f("ocfs", 534, 535),
        _f("sgls", 536, 539),
        _f("mnan", 540, 543),
        _f("subnqn", 768, 1023, "NQN, NUL terminated"),
        _f("psds", 2048, 3071, "power state descriptors, 32 bytes each"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 276",
)

IDENTIFY_NVM_CONTROLLER = Structure(
    "Identify I/O Command Set specific Controller (NVM)",
    4096,
    (
        _f("vsl", 0, 0, "power of two in CAP.MPSMIN pages, 0: no limit"),
        _f("wzsl", 1, 1, "power of two in CAP.MPSMIN pages, 0: no limit"),
        _f("wusl", 2, 2, "power of two in CAP.MPSMIN pages, 0: no limit"),
        _f("dmrl", 3, 3, "ranges, 0: no limit"),
        _f("dmrsl", 4, 7, "logical blocks of one range, 0: no limit"),
        _f("dmsl", 8, 15, "logical blocks of one command, 0: no limit"),
        _f("aocs", 18, 19, "bit 0: Get LBA Status tells which blocks are allocated"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.5 (CNS 06h)",
)

IDENTIFY_NVM_NAMESPACE = Structure(
    "Identify I/O Command Set specific Namespace (NVM)",
    4096,
    (
        _f("lbstm", 0, 7, "storage tag mask"),
        Field("pic", 8, 0, 3, "protection information capabilities"),
        _f("elbafs", 12, 267, "extended LBA formats, 4 bytes each"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.5 (CNS 05h)",
)

EXTENDED_LBA_FORMAT = Structure(
    "Extended LBA Format",
    4,
    (
        Field("sts", 0, 0, 7, "bits of a storage tag"),
        Field("pif", 0, 7, 2, "protection information format, 0: a guard of 16 bits"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.5 (CNS 05h)",
)

IDENTIFY_NAMESPACE = Structure(
    "Identify Namespace",
    4096,
    (
        _f("nsze", 0, 7, "logical blocks"),
        _f("ncap", 8, 15, "logical blocks"),
        _f("nuse", 16, 23, "logical blocks"),
        _f("nsfeat", 24, 24),
        _f("nlbaf", 25, 25, "0's based"),
        _f("flbas", 26, 26),
        _f("mc", 27, 27),
        _f("dpc", 28, 28),
        _f("dps", 29, 29),
        _f("nmic", 30, 30),
        _f("rescap", 31, 31),
        _f("fpi", 32, 32),
        _f("dlfeat", 33, 33),
        _f("nawun", 34, 35, "0's based"),
        _f("nawupf", 36, 37, "0's based"),
        _f("nacwu", 38, 39, "0's based"),
        _f("nabsn", 40, 41, "0's based"),
        _f("nabo", 42, 43),
        _f("nabspf", 44, 45, "0's based"),
        _f("noiob", 46, 47, "logical blocks"),
        _f("nvmcap", 48, 63, "bytes"),
        _f("npwg", 64, 65, "0's based"),
        _f("npwa", 66, 67, "0's based"),
        _f("npdg", 68, 69, "0's based"),
        _f("npda", 70, 71, "0's based"),
        _f("nows", 72, 73, "0's based"),
        _f("mssrl", 74, 75),
        _f("mcl", 76, 79),
        _f("msrc", 80, 80, "0's based"),
        _f("nulbaf", 81, 81),
        _f("anagrpid", 92, 95),
        _f("nsattr", 99, 99),
        _f("nvmsetid", 100, 101),
        _f("endgid", 102, 103),
        _f("nguid", 104, 119, "big-endian identifier"),
        _f("eui64", 120, 127, "big-endian identifier"),
        _f("lbafs", 128, 383, "LBA formats, 4 bytes each"),
    ),
    order="little",
    spec="NVM Command Set 1.0c figure 97",
)

IDENTIFY_INDEPENDENT_NAMESPACE = Structure(
    "I/O Command Set Independent Identify Namespace",
    4096,
    (
        _f("nsfeat", 0, 0),
        _f("nmic", 1, 1),
        _f("rescap", 2, 2),
        _f("fpi", 3, 3),
        _f("anagrpid", 4, 7),
        _f("nsattr", 8, 8),
        _f("nvmsetid", 10, 11),
        _f("endgid", 12, 13),
        _f("nstat", 14, 14, "bit 0 (NRDY): it is ready"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 280",
)

NAMESPACE_GRANULARITY_LIST = Structure(
    "Namespace Granularity List",
    32,
    (
        _f("attributes", 0, 3, "bit 0: one of each LBA format, else the first is for all"),
        _f("num-descriptors", 4, 4, "0's based"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.5 (CNS 16h)",
)
NAMESPACE_GRANULARITY = Structure(
    "Namespace Granularity Descriptor",
    16,
    (
        _f("namespace-size-granularity", 0, 7, "bytes"),
        _f("namespace-capacity-granularity", 8, 15, "bytes"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.5 (CNS 16h)",
)

LBA_FORMAT = Structure(
    "LBA Format",
    4,
    (_f("ms", 0, 1), _f("lbads", 2, 2, "power of two"), Field("rp", 3, 0, 2)),
    order="little",
    spec="NVM Command Set 1.0c figure 98",
)

POWER_STATE = Structure(
    "Power State Descriptor",
    32,
    (
        _f("mp", 0, 1),
        Field("mxps", 3, 0, 1),
        Field("nops", 3, 1, 1, "non-operational"),
        _f("enlat", 4, 7, "microseconds"),
        _f("exlat", 8, 11, "microseconds"),
        Field("rrt", 12, 0, 5),
        Field("rrl", 13, 0, 5),
        Field("rwt", 14, 0, 5),
        Field("rwl", 15, 0, 5),
        _f("idlp", 16, 17),
        Field("ips", 18, 6, 2),
        _f("actp", 20, 21),
        Field("apw", 22, 0, 3),
        Field("aps", 22, 6, 2),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 277",
)

SMART_LOG = Structure(
    "SMART / Health Information",
    512,
    (
        _f("critical_warning", 0, 0),
        _f("temperature", 1, 2, "kelvin"),
        _f("avail_spare", 3, 3, "percent"),
        _f("spare_thresh", 4, 4, "percent"),
        _f("percent_used", 5, 5),
        _f("endurance_grp_critical_warning_summary", 6, 6),
        _f("data_units_read", 32, 47, "1000 units of 512 bytes"),
        _f("data_units_written", 48, 63, "1000 units of 512 bytes"),
        _f("host_read_commands", 64, 79),
        _f("host_write_commands", 80, 95),
        _f("controller_busy_time", 96, 111, "minutes"),
        _f("power_cycles", 112, 127),
        _f("power_on_hours", 128, 143),
        _f("unsafe_shutdowns", 144, 159),
        _f("media_errors", 160, 175),
        _f("num_err_log_entries", 176, 191),
        _f("warning_temp_time", 192, 195, "minutes"),
        _f("critical_comp_time", 196, 199, "minutes"),
        *(_f(f"temperature_sensor_{n}", 198 + 2 * n, 199 + 2 * n, "kelvin") for n in range(1, 9)),
        _f("thm_temp1_trans_count", 216, 219),
        _f("thm_temp2_trans_count", 220, 223),
        _f("thm_temp1_total_time", 224, 227, "seconds"),
        _f("thm_temp2_total_time", 228, 231, "seconds"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 208",
)

ERROR_LOG_ENTRY = Structure(
    "Error Information Log Entry",
    64,
    (
        _f("error_count", 0, 7),
        _f("sqid", 8, 9),
        _f("cmdid", 10, 11),
        Field("phase_tag", 12, 0, 1),
        Field("status_field", 12, 1, 15),
        _f("parm_error_location", 14, 15),
        _f("lba", 16, 23),
        _f("nsid", 24, 27),
        _f("vs", 28, 28),
        _f("trtype", 29, 29),
        _f("cs", 32, 39),
        _f("trtype_spec_info", 40, 41),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 206",
)

SELF_TEST_RESULT = Structure(
    "Self-test Result",
    28,
    (
        Field("result", 0, 0, 4),
        Field("code", 0, 4, 4),
        _f("segment", 1, 1),
        _f("valid", 2, 2, "bit 0 NSID, 1 FLBA, 2 SCT, 3 SC"),
        _f("poh", 4, 11),
        _f("nsid", 12, 15),
        _f("flba", 16, 23),
        _f("sct", 24, 24),
        _f("sc", 25, 25),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 213",
)

SELF_TEST_LOG_BYTES = 4 + 20 * SELF_TEST_RESULT.size

SQE = Structure(
    "Submission Queue Entry",
    SQE_BYTES,
    (
        _f("opc", 0, 0),
        Field("fuse", 1, 0, 2),
        Field("psdt", 1, 6, 2),
        _f("cid", 2, 3),
        _f("nsid", 4, 7),
        _f("cdw2", 8, 11),
        _f("cdw3", 12, 15),
        _f("mptr", 16, 23),
        _f("prp1", 24, 31),
        _f("prp2", 32, 39),
        _f("cdw10", 40, 43),
        _f("cdw11", 44, 47),
        _f("cdw12", 48, 51),
        _f("cdw13", 52, 55),
        _f("cdw14", 56, 59),
        _f("cdw15", 60, 63),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 87",
)

CQE = Structure(
    "Completion Queue Entry",
    CQE_BYTES,
    (
        _f("dw0", 0, 3),
        _f("dw1", 4, 7),
        _f("sqhd", 8, 9),
        _f("sqid", 10, 11),
        _f("cid", 12, 13),
        Field("p", 14, 0, 1),
        Field("sc", 14, 1, 8),
        Field("sct", 15, 1, 3),
        Field("crd", 15, 4, 2),
        Field("m", 15, 6, 1),
        Field("dnr", 15, 7, 1),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 92",
)

TIMESTAMP = Structure(
    "Timestamp",
    8,
    (
        _f("milliseconds", 0, 5),
        Field("synch", 6, 0, 1, "it may have stood still"),
        Field("origin", 6, 1, 3, "0: a reset made it zero, 1: set by Set Features"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 330",
)

DSM_RANGE = Structure(
    "Dataset Management Range",
    16,
    (_f("cattr", 0, 3), _f("nlb", 4, 7, "logical blocks"), _f("slba", 8, 15)),
    order="little",
    spec="NVM Command Set 1.0c figure 43",
)

HOST_MEMORY_DESCRIPTOR = Structure(
    "Host Memory Buffer Descriptor Entry",
    16,
    (_f("badd", 0, 7, "address of the first page"), _f("bsize", 8, 11, "pages")),
    order="little",
    spec="NVMe Base 2.0c figure 329",
)

HOST_MEMORY_ATTRIBUTES = Structure(
    "Host Memory Buffer Attributes",
    4096,
    (
        _f("hsize", 0, 3, "pages"),
        _f("hmdla", 4, 11, "address of the list of descriptors"),
        _f("hmdlec", 12, 15, "how many descriptors"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 328",
)

PRIMARY_CONTROLLER_CAPABILITIES = Structure(
    "Primary Controller Capabilities",
    4096,
    (
        _f("cntlid", 0, 1),
        _f("portid", 2, 3),
        _f("crt", 4, 4, "which resources are flexible: 1 queues, 2 interrupts"),
        _f("vqfrt", 32, 35, "flexible queues in all"),
        _f("vqrfa", 36, 39, "of these, the secondary controllers have"),
        _f("vqrfap", 40, 41, "of these, the primary has"),
        _f("vqprt", 42, 43, "queues that the primary has for good"),
        _f("vqfrsm", 44, 45, "flexible queues of a secondary, at most"),
        _f("vqgran", 46, 47, "by how many they are given"),
        _f("vifrt", 64, 67, "flexible interrupts in all"),
        _f("virfa", 68, 71, "of these, the secondary controllers have"),
        _f("virfap", 72, 73, "of these, the primary has"),
        _f("viprt", 74, 75, "interrupts that the primary has for good"),
        _f("vifrsm", 76, 77, "flexible interrupts of a secondary, at most"),
        _f("vigran", 78, 79, "by how many they are given"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 281",
)

SECONDARY_CONTROLLER = Structure(
    "Secondary Controller Entry",
    32,
    (
        _f("scid", 0, 1),
        _f("pcid", 2, 3),
        _f("scs", 4, 4, "bit 0: online"),
        _f("vfn", 8, 9, "virtual function"),
        _f("nvq", 10, 11, "flexible queues"),
        _f("nvi", 12, 13, "flexible interrupts"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 283",
)
