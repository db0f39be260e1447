"""What has a disk copy by tokens, with sg_raw, as no tool of sg3_utils knows them."""

# A token of the first two blocks, written behind the others, and zeroes there: $unit's.
TOKENS = r"""
zeroes() { head --bytes="$1" /dev/zero; }
range() { zeroes 7; printf "\\x$1\\0\\0\\0\\2\\0\\0\\0\\0"; } # LBA
uses() { printf '\2\x26'; zeroes 14; cat /tmp/token; zeroes 7; printf '\x10'; range 20; }
token_command() { # NAME INPUT BYTE…
  local name=$1 input=$2
  shift 2
  record $unit.$name sg_raw --send="$(stat --format=%s $input)" --infile=$input $disk "$@"
}
{ printf '\0\x1e'; zeroes 12; printf '\0\x10'; range 00; } >/tmp/populate
token_command populate /tmp/populate 83 10 00 00 00 00 00 00 00 07 00 00 00 20 00 00
record $unit.information sg_raw --request=1024 --outfile=/tmp/told $disk \
  84 07 00 00 00 07 00 00 00 00 00 00 04 00 00 00
tail --bytes=+39 /tmp/told | head --bytes=512 >/tmp/token
uses >/tmp/use
token_command use /tmp/use 83 11 00 00 00 00 00 00 00 08 00 00 02 28 00 00
record $unit.used cmp <(block $disk $size 32 2) <(head --bytes=$((2 * size)) /tmp/random)
{ printf '\xff\xff\0\1\0\0\1\xf8'; zeroes 504; } >/tmp/token
uses >/tmp/use
token_command use-zeroes /tmp/use 83 11 00 00 00 00 00 00 00 08 00 00 02 28 00 00
record $unit.used-zeroes cmp <(block $disk $size 32 2) <(zeroes $((2 * size)))
"""
