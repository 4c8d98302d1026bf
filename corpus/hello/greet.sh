# Greets every name that comes in, one a line.
while read -r name; do
    echo "$GREETING, $name!"
done
